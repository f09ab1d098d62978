"""The addresses: the API, the web form, and an answer in the same language for all the rest."""

from django.urls import path, re_path

from rides.operations import CreateRide
from rides.pages import book_a_ride
from rides.views import not_found

urlpatterns = [
    path("", book_a_ride),
    path("rides", CreateRide.as_view()),
    re_path("", not_found),
]
