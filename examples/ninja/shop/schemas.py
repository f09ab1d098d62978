from ninja import Field, Schema


class OrderIn(Schema):
    book: str = Field(max_length=100)
    copies: int = Field(ge=1, le=100)

    model_config = {"extra": "forbid", "strict": True}


class Confirmation(Schema):
    message: str
    payment: str


class Error(Schema):
    code: str
    message: str
    retryable: bool
