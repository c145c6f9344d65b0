"""The HTTP API: JSON, authenticated by token.

Each endpoint is declared (endpoint.Endpoint); dispatch and the OpenAPI document are both generated from
the declarations.
"""
