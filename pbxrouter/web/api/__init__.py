"""The HTTP API: JSON for programs that come with a token.

Each endpoint is declared (endpoint.Endpoint), and both the answering (dispatch) and the
OpenAPI document (document) are made of these declarations, so that the one cannot say what
the other does not do.
"""
