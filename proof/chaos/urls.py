"""The service's addresses, and before them that of an operation which is nothing like a ride."""

from django.urls import include, path

from idempotency.tests.school import Enrol

urlpatterns = [
    path("enrolments", Enrol.as_view()),
    path("", include("rocketrides.urls")),
]
