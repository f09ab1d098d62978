"""The addresses: the API, the web form, and an answer in the same language for all the rest."""

from django.urls import path, re_path

from idempotency.http.standing import request_standing
from rides.contract import show_document, show_page
from rides.operations import CreateRide
from rides.pages import book_a_ride
from rides.seen import list_rides, show_ride
from rides.views import not_found
from rides.webhooks.views import stripe_webhook

urlpatterns = [
    path("", book_a_ride),
    path("rides", CreateRide.as_view(get=list_rides)),
    path("rides/<uuid:public_id>", show_ride),
    path("requests", request_standing),
    path("openapi.json", show_document),
    path("docs", show_page),
    path("stripe/webhook", stripe_webhook),
    re_path("", not_found),
]
