"""The shop behind FastAPI, with `fastapi-idempotency-key` as its README arranges it."""

import uuid

from fastapi import FastAPI
from fastapi.responses import JSONResponse
from fastapi_idempotency_key import IdempotencyMiddleware, MemoryBackend

app = FastAPI()
app.add_middleware(IdempotencyMiddleware, backend=MemoryBackend())
done: list[str] = []


@app.post("/payments")
async def pay(payment: dict[str, int]) -> JSONResponse:
    done.append(str(uuid.uuid4()))
    headers = {"Location": f"/payments/{done[-1]}"}
    return JSONResponse({"run": done[-1]}, status_code=201, headers=headers)


@app.get("/payments")
async def count() -> dict[str, int]:
    return {"payments": len(done)}
