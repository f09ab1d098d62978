"""The places of the library and of the example in which bugs are planted, each named once.

Open it when a planted bug finds no place any more: a move in the heart is followed here.
"""

from idempotency import claims, commits, failures, leases, stopping
from idempotency.attempts import Attempt
from idempotency.http import views
from idempotency.jobs import delivering, settling, working
from idempotency.jobs import leases as job_leases
from idempotency.phases import ForeignPhase
from idempotency.tests import seams as of_the_library
from idempotency.tests.seams import Seam
from idempotency.workers import overdue, reaping
from rides import operations
from rides.operations import CreateRide
from rides.payments import charging, taking_back
from rides.webhooks import receiving

# Claims, and the statement that fences every other move of a key.
INSERT_KEY = Seam(claims, "INSERT_KEY")
TAKE_OVER_KEY = Seam(claims, "TAKE_OVER_KEY")
TAKE_OVER_NEXT_DUE_KEY = Seam(claims, "TAKE_OVER_NEXT_DUE_KEY")
LEASE_SECONDS_LEFT = Seam(claims.StoredKey, "lease_seconds_left")
IMPOSSIBLE_LEASE = Seam(claims.StoredKey, "impossible_lease")
WRITE_PROGRESS = Seam(leases, "WRITE_PROGRESS")
ABANDON_AT_A_STOP = Seam(stopping, "abandon")

# Attempts, commits and failures.
MAKE_ANEW = of_the_library.MAKE_ANEW
CALL_FOREIGN = Seam(Attempt, "call_foreign")
WAIT = Seam(Attempt, "_wait")
SEND_OR_LOOK_UP = Seam(Attempt, "_send_or_look_up")
MAY_SEND = Seam(ForeignPhase, "may_send")
MOVE_IN_A_COMMIT = Seam(commits, "write_progress")
WAS_ROLLED_BACK_WITH_OTHERS = Seam(commits.SharedCommit, "was_rolled_back_with_others")
MOVE_AFTER_A_FAILURE = Seam(failures, "write_progress")
PROGRESS_OF_A_FAILURE = Seam(failures, "Progress")
DESCRIBE_A_FAILURE = Seam(failures, "described")

# The door.
FOREIGN_KEY_OF_A_REQUEST = Seam(views, "foreign_key_for")
FINGERPRINT = Seam(views, "fingerprint")
REPLAY = Seam(views, "replay")

# The reaper.
FIND_OLD_TOMBSTONES = Seam(reaping, "FIND_OLD_TOMBSTONES")
KEYS_ARE_OVERDUE = Seam(overdue, "KEYS_ARE_OVERDUE")
FINISHED_KEYS_ARE_OVERDUE = Seam(overdue, "FINISHED_KEYS_ARE_OVERDUE")

# Jobs.
DRAIN = Seam(delivering, "drain_staged_jobs")
DRAIN_STAGED_JOBS = Seam(delivering, "DRAIN_STAGED_JOBS")
DRAIN_JOBS_WHOSE_TIME_HAS_COME = Seam(delivering, "DRAIN_JOBS_WHOSE_TIME_HAS_COME")
TAKE_OVERDUE_JOBS = Seam(delivering, "TAKE_OVERDUE_JOBS")
IS_IN_THIS_DATABASE = Seam(delivering, "_is_in_this_database")
RUN_JOB = Seam(delivering, "run_job")
LEASE_DELIVERY = Seam(job_leases, "LEASE_DELIVERY")
SETTLE_DELIVERY = Seam(settling, "settle_delivery")
RUN_WITH_SETTLING = Seam(working, "_run_with_settling")

# The ride.
STAGE_JOB = Seam(operations, "stage_job")
CREATE_RIDE = Seam(CreateRide.create_ride, "method")
FIND_CHARGE = Seam(CreateRide, "find_charge")
WITHDRAW_PAYMENT = Seam(CreateRide, "withdraw_payment")
CARD_DECLINED = Seam(CreateRide, "card_declined")
RECORD_CHARGE = Seam(CreateRide, "record_charge")
SEND_RECEIPT = Seam(CreateRide.send_receipt, "method")
REJECTIONS = Seam(CreateRide.charge_rider, "rejections")
WINDOW = Seam(CreateRide.charge_rider, "window")

# What Stripe tells of its own accord.
WRITE_EVENT_DOWN = Seam(receiving, "_write_down")

# Its payment.
WANTED = Seam(charging, "wanted")
CUSTOMER_OF = Seam(charging, "customer_of")
FOREIGN_KEY_OF_A_CHARGE = Seam(charging, "foreign_key_of")
VERDICT = Seam(charging, "verdict")
IS_SAVED_REFUSAL = Seam(charging, "is_saved_refusal")
PAYMENTS_LOOKED_UP = Seam(charging, "payments_of")
PAYMENTS_TAKEN_BACK = Seam(taking_back, "payments_of")
MAKE_KEY_USELESS = Seam(taking_back, "make_key_useless")
