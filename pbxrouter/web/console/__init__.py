"""The web console: pages that an owner opens every day, rendered on the server, in two languages.

How a page is made::

    class Things:
        def __init__(self, router: Router, desk: WebContext) -> None:
            self._router, self._desk = router, desk
            router.add("/things", self.list, Role.VIEWER)
            router.add("/things/<int:number>", self.change, Role.OPERATOR, methods=("POST",))

        async def list(self, visit: Visit) -> bytes:
            things = await self._desk.read(lambda connection: list_things(connection, ...))
            return self._router.page("things.html", visit, things=things)

        async def change(self, visit: Visit, number: int) -> bytes:
            undo = await self._desk.change(lambda connection: edit(connection, visit.actor, ...))
            raise Redirect("/things", step("{name} is changed", name=...), undo=undo)

The router checks role, session and CSRF code before a handler runs, and turns what it raises
into a page: NotThere 404, EditConflict 409, EditRefused 400 (a form is shown again by its
handler instead, with ``error=`` for templates/macros.html), StoreError 503. Whatever changes
something is a POST with the field ``csrf``. A page gets its line in menu.MENU.

In templates: extend base.html, blocks ``title`` and ``main``; ``_("…")`` and ``{% trans %}`` for
words, ``say(step)`` for steps, filters ``number``, ``moment``, ``clock``, ``day``, ``duration``
for what differs by language; macros.html has fields, buttons, search and pager. Every sentence
has its Spanish one in locale/es/LC_MESSAGES/pbxrouter.po.
"""
