"""Click-to-dial links: pages on which visitors request a call."""

from __future__ import annotations

import dataclasses

import msgspec

from pbxrouter.click_to_dial import Signer
from pbxrouter.database import Connection
from pbxrouter.database.click_to_dial import (
    DialLink,
    LinkValues,
    add_dial_link,
    delete_dial_link,
    dial_link,
    list_dial_links,
    set_dial_link_enabled,
    update_dial_link,
    void_dial_link,
)
from pbxrouter.security import Scope
from pbxrouter.web.api.endpoint import ApiRequest, Created, Endpoint
from pbxrouter.web.api.items import item_of
from pbxrouter.web.api.parsing import given
from pbxrouter.web.api.resources.dial_link_types import (
    Address,
    Link,
    LinkChange,
    Links,
    NewAddress,
    NewLink,
)
from pbxrouter.web.click_to_dial.service import link_options
from pbxrouter.web.http.public_url import base_url, click_url
from pbxrouter.web.http.site import MAX_FORM

TAG = "Administration"
PATH = "/api/dial-links"
DAY_S = 86_400


def _today(request: ApiRequest) -> str:
    return request.web.zone.local(request.web.now()).date().isoformat()


def _shown(link: DialLink) -> Link:
    return item_of(Link, link, **dataclasses.asdict(link.values))


async def list_links(request: ApiRequest) -> Links:
    """List links."""
    day = _today(request)
    return Links([_shown(row) for row in await request.web.read(lambda connection: list_dial_links(connection, day))])


async def get_link(request: ApiRequest) -> Link:
    """Get a link."""
    day, number = _today(request), request.path["link_id"]
    return _shown(await request.web.read(lambda connection: dial_link(connection, number, day)))


async def create_link(request: ApiRequest) -> Created:
    """Create a link."""
    new: NewLink = request.body
    values = LinkValues(**msgspec.structs.asdict(new))
    places = link_options(request.web)

    def create(connection: Connection) -> DialLink:
        return dial_link(connection, add_dial_link(connection, request.actor, request.web.now(), values, places))

    created = _shown(await request.web.write(create))
    return Created(f"{PATH}/{created.link_id}", created)


async def change_link(request: ApiRequest) -> Link:
    """Change a link."""
    wanted: LinkChange = request.body
    changes = given(wanted)
    enabled = changes.pop("enabled", None)
    day, number = _today(request), request.path["link_id"]
    places = link_options(request.web)

    def change(connection: Connection) -> DialLink:
        now = request.web.now()
        if changes:
            update_dial_link(connection, request.actor, now, number, changes, places)
        if enabled is not None:
            set_dial_link_enabled(connection, request.actor, now, number, enabled)
        return dial_link(connection, number, day)

    return _shown(await request.web.write(change))


async def void_link(request: ApiRequest) -> Link:
    """Void all addresses of a link."""
    day, number = _today(request), request.path["link_id"]

    def void(connection: Connection) -> DialLink:
        void_dial_link(connection, request.actor, request.web.now(), number)
        return dial_link(connection, number, day)

    return _shown(await request.web.write(void))


async def sign_link(request: ApiRequest) -> Address:
    """Sign a further address; earlier ones stay valid."""
    wanted: NewAddress = request.body
    web = request.web
    link = await web.read(lambda connection: dial_link(connection, request.path["link_id"]))
    expires = float(int(web.now()) + wanted.days * DAY_S)
    signature = Signer(web.key).link(link.link_id, link.generation, expires)
    base = base_url(web.config.web.url, web.config.web.listen or "")
    return Address(click_url(base, link.link_id, signature), expires)


async def delete_link(request: ApiRequest) -> None:
    """Delete a link."""
    await request.web.write(
        lambda connection: delete_dial_link(connection, request.actor, request.web.now(), request.path["link_id"])
    )


_NEW = NewLink("Talk to sales", "PJSIP/33", "pbxrouter-phones", "+34[679]XXXXXXXX", hours="mon-fri 09:00-18:00")
_SHOWN = Link(link_id=1, enabled=True, generation=1, calls_today=3, **msgspec.structs.asdict(_NEW))
_ONE = f"{PATH}/{{link_id}}"
_REFUSED = frozenset({409, 422})

ENDPOINTS = (
    Endpoint("GET", PATH, TAG, "List click-to-dial links", list_links, Scope.ADMIN, Links, shows=Links([_SHOWN])),
    Endpoint(
        "POST",
        PATH,
        TAG,
        "Create a click-to-dial link",
        create_link,
        Scope.ADMIN,
        Link,
        body=NewLink,
        status=201,
        errors=_REFUSED,
        example=_NEW,
        longest=MAX_FORM,
        shows=_SHOWN,
    ),
    Endpoint("GET", _ONE, TAG, "Get a click-to-dial link", get_link, Scope.ADMIN, Link, shows=_SHOWN),
    Endpoint(
        "PATCH",
        _ONE,
        TAG,
        "Change, enable or disable a click-to-dial link",
        change_link,
        Scope.ADMIN,
        Link,
        body=LinkChange,
        errors=_REFUSED,
        example=LinkChange(calls_a_day=20),
        longest=MAX_FORM,
        shows=_SHOWN,
    ),
    Endpoint(
        "POST",
        f"{_ONE}/addresses",
        TAG,
        "Create a signed address of a link",
        sign_link,
        Scope.ADMIN,
        Address,
        body=NewAddress,
        example=NewAddress(90),
        shows=Address("https://pbx.example.org/click/1?sig=1.1803203154.…", 1803203154.0),
    ),
    Endpoint(
        "POST",
        f"{_ONE}/void",
        TAG,
        "Void all signed addresses of a link",
        void_link,
        Scope.ADMIN,
        Link,
        errors=frozenset({409}),
        shows=_SHOWN,
    ),
    Endpoint(
        "DELETE",
        _ONE,
        TAG,
        "Delete a click-to-dial link",
        delete_link,
        Scope.ADMIN,
        status=204,
        errors=frozenset({409}),
    ),
)
