"""The contract with clients, as OpenAPI 3.1 (`/openapi.json`) and as a page for people (`/docs`).

`manage.py contract` writes it to docs/openapi.json, where a change of it is seen in review.
"""

import json
from functools import cache
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render

from idempotency.http import openapi
from idempotency.http.openapi import JSON, Document, components, operation_item
from idempotency.http.refusals import (
    KeyInvalid,
    KeyMissing,
    ParametersInvalid,
    RequestUnknown,
    Unauthenticated,
)
from rides.forms import RideForm
from rides.operations import CreateRide
from rides.seen import LONGEST_PAGE, PAGE, RideUnknown
from rides.signins import TooManyRequests
from rides.views import only_read
from rocketrides.refusals import Overloaded, RequestTimeout, UnknownHost

VERSION = "1.0.0"

RIDE: Document = {
    "type": "object",
    "required": [
        *("id", "status", "created_at", "origin", "target"),
        *("amount_cents", "currency", "refunded_cents"),
    ],
    "properties": {
        "id": {"type": "string", "format": "uuid"},
        "status": {"enum": ["in_progress", "paid", "not_paid", "cancelled"]},
        "created_at": {"type": "string", "format": "date-time"},
        "origin": {"$ref": "#/components/schemas/Place"},
        "target": {"$ref": "#/components/schemas/Place"},
        "amount_cents": {"type": "integer", "description": "In minor units of the currency."},
        "currency": {"type": "string", "pattern": "^[a-z]{3}$"},
        "refunded_cents": {"type": "integer", "minimum": 0},
    },
}
PLACE: Document = {
    "type": "object",
    "description": "Degrees, as decimal digits.",
    "required": ["lat", "lon"],
    "properties": {"lat": {"type": "string"}, "lon": {"type": "string"}},
}
PAGE_OF_RIDES: Document = {
    "type": "object",
    "required": ["rides", "next"],
    "properties": {
        "rides": {"type": "array", "items": {"$ref": "#/components/schemas/Ride"}},
        "next": {"type": ["string", "null"], "description": "The address of the page after."},
    },
}
STANDING: Document = {
    "type": "object",
    "required": ["state", "retry_after_seconds", "request", "answer"],
    "properties": {
        "state": {
            "enum": [
                *("in_progress", "interrupted", "pending", "under_review", "finished", "expired"),
            ],
            "description": (
                "What to do: `in_progress`, `pending` — ask again after `retry_after_seconds`; "
                "`interrupted` — send the request with the same key; `under_review` — a person "
                "decides, ask again later; `finished` — this is the answer; `expired` — it was "
                "answered so long ago that only the status is left, and `path` is empty."
            ),
        },
        "retry_after_seconds": {"type": ["integer", "null"], "minimum": 0},
        "request": {
            "type": "object",
            "required": ["method", "path", "created_at", "last_run_at"],
            "properties": {
                **{name: {"type": "string"} for name in ("method", "path")},
                **{
                    name: {"type": "string", "format": "date-time"}
                    for name in ("created_at", "last_run_at")
                },
            },
        },
        "answer": {
            "type": ["object", "null"],
            "required": ["status"],
            "properties": {
                "status": {"type": "integer"},
                "headers": {"type": "object", "additionalProperties": {"type": "string"}},
                "body": {"type": "string"},
                "body_base64": {"type": "string", "contentEncoding": "base64"},
            },
        },
    },
}

ACCEPTED: Document = {
    "type": "object",
    "required": ["message"],
    "properties": {"message": {"type": "string"}},
}
PENDING: Document = {
    "type": "object",
    "required": ["message"],
    "properties": {"message": {"type": "string"}, "next_action": {"type": "object"}},
}

BOOKED = "Payment accepted. Your pilot is on their way!"


def document(params_form: Any = None) -> Document:
    """Return the whole contract.

    Args:
        params_form: of a booking, in place of what this process takes.
    """
    shared = components()
    shared["schemas"] |= {
        **{"Ride": RIDE, "Place": PLACE, "RidePage": PAGE_OF_RIDES, "Standing": STANDING},
    }
    shared["securitySchemes"] = {
        "apiKey": {
            "type": "http",
            "scheme": "bearer",
            "description": "`rr_<mode>_<cell>_<prefix>_<secret>`, as it was shown once.",
        }
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Rocket Rides",
            "version": VERSION,
            "summary": "Book a jetpack ride once, whatever breaks on the way.",
            "description": (
                "A booking needs an `Idempotency-Key`. Send the same key with each try: whatever "
                "breaks, it books one ride and charges the card once, and every final answer of "
                "the key is the first one's bytes."
            ),
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "security": [{"apiKey": []}],
        "paths": {
            "/rides": {"get": list_item(), "post": booking_item(params_form)},
            "/rides/{id}": {"get": ride_item()},
            "/requests": {"get": standing_item()},
        },
        "components": shared,
    }


def booking_item(params_form: Any = None) -> Document:
    location = {
        **{"description": "Where the ride is.", "required": True},
        "schema": {"type": "string"},
    }
    return operation_item(
        CreateRide,
        summary="Book a ride, and charge the card for it",
        params_form=params_form,
        operation_id="bookRide",
        standing_id="showRequest",
        refused_before=(UnknownHost, RequestTimeout, Overloaded, TooManyRequests),
        answers={
            201: {
                "description": "The ride is booked and paid for. Final.",
                "headers": {"Location": location},
                "content": _json(ACCEPTED, booked={"message": BOOKED}),
            },
            202: {
                "description": (
                    "The bank asks the rider (`next_action`), or takes its time. Not final: ask "
                    "again with the same key after `Retry-After`."
                ),
                "headers": {"Retry-After": {"$ref": "#/components/headers/Retry-After"}},
                "content": _json(PENDING),
            },
            402: {
                "description": "The card was declined. Final: another try needs a new key.",
                "content": _json(
                    {"$ref": "#/components/schemas/Error"},
                    card_declined={
                        "error": "Error from payment processor: Your card was declined.",
                        **{"code": "card_declined", "retryable": False},
                    },
                ),
            },
            409: {
                "description": "`ride_cancelled`: A person has cancelled the ride. Final.",
                "content": _json(
                    {"$ref": "#/components/schemas/Error"},
                    ride_cancelled={
                        "error": "This ride was cancelled. You are not charged for it.",
                        **{"code": "ride_cancelled", "retryable": False},
                    },
                ),
            },
        },
    )


def list_item() -> Document:
    latest = "$response.body#/rides/0/id"
    links = {
        "ride": {
            **{"operationId": "showRide", "parameters": {"id": latest}},
            "description": "The latest ride.",
        },
        "below": {
            **{"operationId": "listRides", "parameters": {"before": latest}},
            "description": "The rides below it.",
        },
    }
    return {
        "summary": "List one's own rides, the latest first",
        "operationId": "listRides",
        "parameters": [
            {
                **{"name": "limit", "in": "query", "description": f"{PAGE} without it."},
                "schema": {"type": "integer", "minimum": 1, "maximum": LONGEST_PAGE},
            },
            {
                **{"name": "before", "in": "query", "description": "Go on below this ride."},
                "schema": {"type": "string", "format": "uuid"},
            },
        ],
        "responses": _read("RidePage", ParametersInvalid, links=links),
    }


def ride_item() -> Document:
    ride_id = {"name": "id", "in": "path", "required": True}
    return {
        "summary": "See one of one's own rides",
        "operationId": "showRide",
        "parameters": [{**ride_id, "schema": {"type": "string", "format": "uuid"}}],
        "responses": _read("Ride", RideUnknown),
    }


def standing_item() -> Document:
    return {
        "summary": "Ask where a request stands, by its key alone",
        "operationId": "showRequest",
        "parameters": [{"$ref": "#/components/parameters/IdempotencyKey"}],
        "responses": _read("Standing", RequestUnknown, KeyMissing, KeyInvalid),
    }


def _read(schema: str, *besides: Any, links: Document | None = None) -> Document:
    """Return the answers of an address that is only read."""
    wrong = (
        *(UnknownHost, Overloaded, TooManyRequests, *openapi.OF_READING),
        *(Unauthenticated, *besides),
    )
    found = {"description": "What was asked for.", "content": _json(_ref(schema))}
    found |= {"links": links} if links else {}
    return {"200": found, **openapi.refused(wrong)}


def _json(schema: Document, **examples: Any) -> Document:
    named = {"examples": {name: {"value": value} for name, value in examples.items()}}
    return {JSON: {"schema": schema, **(named if examples else {})}}


def _ref(schema: str) -> Document:
    return {"$ref": f"#/components/schemas/{schema}"}


@cache
def _document() -> Document:
    return document()


@only_read
def show_document(request: HttpRequest) -> HttpResponse:
    return JsonResponse(_document())


@only_read
def show_page(request: HttpRequest) -> HttpResponse:
    """Show the contract to people: the same document, on one page without a script."""
    document = _document()
    operations = [
        {**item, "path": path, "method": method.upper(), "parameters": _parameters_of(item)}
        for path, methods in document["paths"].items()
        for method, item in methods.items()
    ]
    context = {"document": document, "operations": operations}
    return render(request, "rides/contract.html", context)


def _parameters_of(item: Document) -> list[Document]:
    """Return the parameters as the page's rows: headers, the query, and the body's fields."""
    named = _document()["components"]["parameters"]
    found = [
        named[parameter["$ref"].rpartition("/")[2]] if "$ref" in parameter else parameter
        for parameter in item["parameters"]
    ]
    if "requestBody" in item:
        schema = item["requestBody"]["content"][JSON]["schema"]
        found += [
            {"name": name, "in": "body", "schema": field, "required": name in schema["required"]}
            for name, field in schema["properties"].items()
        ]
    return found


def text() -> str:
    """Return what docs/openapi.json has: the contract of production."""
    return json.dumps(document(RideForm), indent=2, ensure_ascii=False) + "\n"
