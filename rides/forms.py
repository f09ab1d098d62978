"""What a ride request may say, and the words that refuse it.

The messages read on from the field's name ("origin_lat must be ..."). Whether fields are missing,
repeated, unknown or of a wrong JSON type is the request's affair and settled before this form.
"""

import re
from decimal import Decimal
from typing import Any

from django import forms
from django.core.exceptions import ValidationError

# ASCII digits and a short exponent: `Decimal` itself also takes other scripts' digits, underscores,
# "nan", "inf", and exponents that take seconds to write out.
PLAIN_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,2})?")


class DegreesField(forms.DecimalField):
    """A coordinate from minus to plus ``limit`` degrees with at most ten decimals."""

    DECIMALS = 10

    def __init__(self, *, limit: int) -> None:
        super().__init__(error_messages={"required": "is missing."})
        self.limit = limit
        self.json_schema = {  # what the contract says of it
            **{"minimum": -limit, "maximum": limit},
            "description": f"Degrees, with at most {self.DECIMALS} decimals.",
        }

    def to_python(self, value: Any) -> Any:
        if value in self.empty_values:
            return None
        if not PLAIN_NUMBER.fullmatch(str(value)):
            raise ValidationError("must be a number in decimal digits, such as 37.7793.")
        return Decimal(str(value))

    def validate(self, value: Any) -> None:
        super().validate(value)
        if abs(value) > self.limit:
            raise ValidationError(f"must be between -{self.limit} and {self.limit}.")
        if -value.as_tuple().exponent > self.DECIMALS:
            raise ValidationError(f"must have at most {self.DECIMALS} decimals.")


class FlagField(forms.BooleanField):
    """``true`` or ``false``; absent means false.

    Not a checkbox, as whose value Django takes any text for true.
    """

    widget = forms.TextInput

    def __init__(self) -> None:
        super().__init__(required=False)

    def to_python(self, value: Any) -> bool:
        text = "false" if value in self.empty_values else str(value).lower()
        if text not in ("true", "false"):
            raise ValidationError("must be true or false.")
        return text == "true"


class RideForm(forms.Form):
    """From where to where."""

    origin_lat = DegreesField(limit=90)
    origin_lon = DegreesField(limit=180)
    target_lat = DegreesField(limit=90)
    target_lon = DegreesField(limit=180)


class DemoRideForm(RideForm):
    """The same in the demonstration, where a client may ask to fail once the ride is recorded."""

    raise_error = FlagField()
