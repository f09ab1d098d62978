"""The service's one address, and an answer in its own language for every other."""

from django.urls import path, re_path

from rides.operations import CreateRide
from rides.views import not_found

urlpatterns = [
    path("rides", CreateRide.as_view()),
    re_path("", not_found),
]
