"""The same ride on DBOS Transact and FastAPI, by an interpreter of their own.

The idempotency key is the workflow's id, each transaction is a step that DBOS checkpoints in the
transaction itself, and Stripe is asked in a step between them. The rows are those of the service:
the ride, its audit record and the staged job; DBOS's own tables stand for the key. It is written to
be fast: plain SQL, READ COMMITTED, two processes, no access log. `PIN_WORKERS` is as for ours.
"""

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import stripe
from dbos import DBOS, SetWorkflowID, SQLAlchemyDatasource
from fastapi import FastAPI, Form, Header, HTTPException
from sqlalchemy import text

from rocketrides.cores import keep_to_one_core

if os.environ.get("PIN_WORKERS") == "true":
    keep_to_one_core()

DATABASE_URL = os.environ["DATABASE_URL"]

FIND_RIDER = text(
    "SELECT id, stripe_customer_id FROM rides_user WHERE email = :email AND is_active"
)
INSERT_RIDE = text("""
INSERT INTO rides_ride
       (user_id, origin_ip, origin_lat, origin_lon, target_lat, target_lon, amount_cents, currency)
VALUES (:rider, '127.0.0.1', :origin_lat, :origin_lon, :target_lat, :target_lon, 2000, 'usd')
RETURNING id
""")
INSERT_AUDIT_RECORD = text("""
INSERT INTO rides_auditrecord (action, data, resource_id, resource_type, user_id)
VALUES ('ride.created', '{"amount_cents": 2000, "currency": "usd"}', :ride, 'ride', :rider)
""")
KEEP_CHARGE = text("""
UPDATE rides_ride
   SET stripe_charge_id = :charge, stripe_payment_intent_id = :intent
 WHERE id = :ride
""")
STAGE_JOB = text("""
INSERT INTO idempotency_stagedjob (job_id, job_name, job_args, created_at)
VALUES (gen_random_uuid(), 'rides.tasks.send_ride_receipt', CAST(:job_args AS jsonb), now())
""")

DBOS(
    config={
        "name": "rides",
        "system_database_url": DATABASE_URL,
        "executor_id": str(os.getpid()),
        "log_level": "WARNING",
    }
)
rides = SQLAlchemyDatasource.create(DATABASE_URL)
client = stripe.StripeClient(
    os.environ["STRIPE_API_KEY"], base_addresses={"api": os.environ["STRIPE_API_BASE"]}
)


@rides.transaction(isolation_level="READ COMMITTED")
def create_ride(rider: int, coordinates: dict[str, str]) -> int:
    session = rides.sql_session()
    ride: int = session.execute(INSERT_RIDE, {"rider": rider, **coordinates}).scalar_one()
    session.execute(INSERT_AUDIT_RECORD, {"ride": ride, "rider": rider})
    return ride


@DBOS.step()
def charge_rider(ride: int, customer: str) -> dict[str, str]:
    key = str(DBOS.workflow_id)
    intent = client.v1.payment_intents.create(
        {
            "amount": 2000,
            "currency": "usd",
            "customer": customer,
            "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"},
            "confirm": True,
            "off_session": True,
            "description": f"Charge for ride {ride}",
            "metadata": {"ride_id": str(ride), "idempotency_key_id": key, "foreign_key": key},
        },
        {"idempotency_key": key},
    )
    return {"charge": str(intent.latest_charge), "intent": intent.id}


@rides.transaction(isolation_level="READ COMMITTED")
def finish_ride(ride: int, rider: int, charge: dict[str, str]) -> None:
    session = rides.sql_session()
    session.execute(KEEP_CHARGE, {"ride": ride, **charge})
    arguments = {"ride_id": ride, "user_id": rider, "currency": "usd", "amount_cents": 2000}
    job_args = json.dumps({"args": [], "kwargs": arguments})
    session.execute(STAGE_JOB, {"job_args": job_args})


@DBOS.workflow()
def book_ride(rider: int, customer: str, coordinates: dict[str, str]) -> dict[str, str]:
    ride = create_ride(rider, coordinates)
    finish_ride(ride, rider, charge_rider(ride, customer))
    return {"message": "Payment accepted. Your pilot is on their way!"}


@asynccontextmanager
async def launched(_: FastAPI) -> AsyncIterator[None]:
    DBOS.launch()
    yield
    DBOS.destroy()


app = FastAPI(lifespan=launched)


@app.post("/rides", status_code=201)
def post_ride(
    authorization: Annotated[str, Header()],
    idempotency_key: Annotated[str, Header()],
    origin_lat: Annotated[str, Form()],
    origin_lon: Annotated[str, Form()],
    target_lat: Annotated[str, Form()],
    target_lon: Annotated[str, Form()],
) -> dict[str, Any]:
    with rides.engine.connect() as connection:
        rider = connection.execute(FIND_RIDER, {"email": authorization}).one_or_none()
    if rider is None:
        raise HTTPException(401)
    coordinates = {
        "origin_lat": origin_lat,
        "origin_lon": origin_lon,
        "target_lat": target_lat,
        "target_lon": target_lon,
    }
    with SetWorkflowID(f"{rider.id}:{idempotency_key}"):
        return book_ride(rider.id, rider.stripe_customer_id, coordinates)
