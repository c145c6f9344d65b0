"""The web console: pages rendered on the server, in English and Spanish.

How a page is made::

    class ThingPages:
        def __init__(self, router: Router, web: WebContext) -> None:
            self._router, self._web = router, web
            router.add("/things", self.list, Role.VIEWER)
            router.add("/things/<int:number>", self.change, Role.OPERATOR, methods=("POST",))

        async def list(self, page_request: PageRequest) -> bytes:
            things = await self._web.read(list_things)
            return self._router.page("things.html", page_request, things=things)

        async def change(self, page_request: PageRequest, number: int) -> bytes:
            actor, now, name = page_request.actor, self._web.now(), page_request.form.text("name")
            undo = await self._web.write(lambda connection: rename_thing(connection, actor, now, number, name))
            raise Redirect("/things", sentence("{name} was changed", name=name), undo=undo)

Changes that calls are decided by go through ``WebContext.change``, which reloads the rules. The class is
named in app.PAGES and its page in menu.MENU.

The router checks session, role and CSRF token before a handler runs, and turns exceptions into pages:
NotThere 404, EditConflict 409, EditRefused 400, StoreError 503. A handler with a form catches EditRefused
and shows the form again with ``error=``, for templates/macros.html. A request that changes something is a
POST with the field ``csrf``.

Templates extend base.html with the blocks ``title`` and ``main``. ``_("…")`` and ``{% trans %}`` translate text,
``say(sentence)`` a Sentence; the filters ``number``, ``moment``, ``clock``, ``day`` and ``duration`` format
values; macros.html has fields, buttons, search and pager. Each sentence needs its translation in
locale/es/LC_MESSAGES/pbxrouter.po.
"""
