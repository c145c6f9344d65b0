"""What the gateway serves by HTTP on ``[web] listen``.

A part is a module with a function that adds its routes to the klein application; build
names the parts, site serves them. Handlers are thin: what they tell or do is elsewhere.
"""
