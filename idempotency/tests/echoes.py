"""Operations that answer with what their request was: for what is read, stored and compared."""

from django import forms
from django.urls import path

from idempotency import STARTED, Operation, Response, atomic_phase
from idempotency.tests import bookshop


class EverythingForm(forms.Form):
    """One field of each kind that JSON treats in its own way."""

    text = forms.CharField(required=False)
    whole = forms.IntegerField(required=False)
    decimal = forms.DecimalField(required=False)
    real = forms.FloatField(required=False)
    yes = forms.BooleanField(required=False)
    day = forms.DateField(required=False)
    several = forms.MultipleChoiceField(choices=[("a", "A"), ("b", "B")], required=False)
    document = forms.JSONField(required=False)


class Echo(Operation):
    """Answers with what its phase got."""

    params_form = EverythingForm

    @atomic_phase(STARTED)
    def echo(self) -> Response:
        return Response(201, {name: repr(value) for name, value in self.params.items()})


class Keep(Operation):
    """Looks at nothing of what it got."""

    params_form = EverythingForm

    @atomic_phase(STARTED)
    def keep(self) -> Response:
        return Response(201, {})


class FormOfAPage(forms.Form):
    """Has what only a page sends: a file, and fields of several names."""

    file = forms.FileField(required=False)
    moment = forms.SplitDateTimeField(required=False)
    day = forms.DateField(required=False, widget=forms.SelectDateWidget)


class KeepOfAPage(Keep):
    params_form = FormOfAPage


class EchoOfAPlace(Operation):
    """Its URL has a part that varies."""

    @atomic_phase(STARTED)
    def echo(self) -> Response:
        return Response(201, dict(self.path_kwargs))


urlpatterns = [
    *bookshop.urlpatterns,
    path("echo", Echo.as_view()),
    path("kept", Keep.as_view()),
    path("page", KeepOfAPage.as_view()),
    path("shelves/<str:shelf>", EchoOfAPlace.as_view()),
]
