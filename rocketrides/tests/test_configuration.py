"""What the environment decides, seen from outside: each test runs a process with its own."""

import ast
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
from django.db import OperationalError, close_old_connections, connection
from requests.adapters import HTTPAdapter, Retry

from rocketrides.environment import BASE_DIR, SECRETS

PRODUCTION = {
    "DEBUG": "false",
    "SECRET_KEY": "of-no-consequence-" * 4,
    "DATABASE_URL": "postgres://nobody@127.0.0.1:1/nowhere",
    "STRIPE_API_KEY": "sk_test_of_no_consequence",
    "ALLOWED_HOSTS": "127.0.0.1",
    "FOREIGN_KEY_NAMESPACE": "5b1c7a56-2f0c-4df1-8a35-0d3d3ce0a111",
}
REQUIRED = [
    *["SECRET_KEY", "DATABASE_URL", "STRIPE_API_KEY", "ALLOWED_HOSTS", "FOREIGN_KEY_NAMESPACE"]
]
# Set to nothing, so that no .env of the developer's sets them.
UNSET = dict.fromkeys(
    [*REQUIRED, "STRIPE_API_BASE", "STRIPE_WEBHOOK_SECRET", "DATABASE_SESSION_OPTIONS"], ""
)

BY_TLS = {"X-Forwarded-Proto": "https"}

MANAGE = ["manage.py", "check"]
WSGI = ["-c", "import rocketrides.wsgi"]
ASGI = ["-c", "import rocketrides.asgi"]


def run(arguments: list[str], **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=BASE_DIR,
        env=os.environ | UNSET | variables,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def setting(name: str, **variables: str) -> str:
    """Return what a fresh process has for the setting."""
    result = run(["-c", f"from rocketrides import settings; print(settings.{name})"], **variables)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


@pytest.mark.parametrize("process", [MANAGE, ["manage.py", "completer", "--once"], WSGI, ASGI])
def test_debug_off_refuses_to_start_and_names_all_that_is_missing_in_one_line(
    process: list[str],
) -> None:
    result = run(process, DEBUG="false")

    assert result.returncode == 1
    [line] = result.stderr.splitlines()
    assert "DEBUG is off" in line
    assert [name for name in REQUIRED if name in line] == REQUIRED


@pytest.mark.parametrize("missing", REQUIRED)
def test_debug_off_names_only_what_is_missing(missing: str) -> None:
    result = run(MANAGE, **{**PRODUCTION, missing: ""})

    assert result.returncode == 1
    [line] = result.stderr.splitlines()
    assert [name for name in REQUIRED if name in line] == [missing]


def test_a_namespace_that_is_no_uuid_is_refused_in_one_line() -> None:
    result = run(MANAGE, **{**PRODUCTION, "FOREIGN_KEY_NAMESPACE": "rocket-rides"})

    assert result.returncode == 1
    [line] = result.stderr.splitlines()
    assert "FOREIGN_KEY_NAMESPACE is 'rocket-rides', which is not a UUID" in line


def test_the_sandbox_has_a_namespace_of_its_own() -> None:
    default = "6f1d2f0e-52c4-4a7e-9b1c-7d3a90e4c815"

    assert setting("IDEMPOTENCY['FOREIGN_KEY_NAMESPACE']") == default


def test_debug_off_refuses_the_demo_credential() -> None:
    result = run(MANAGE, **PRODUCTION, DEMO_AUTH="true")

    assert result.returncode == 1
    [line] = result.stderr.splitlines()
    assert "DEMO_AUTH" in line


@pytest.mark.parametrize("key", ["sk_live_of_no_consequence", "rk_live_of_no_consequence"])
def test_the_demo_credential_is_refused_with_a_live_key_of_stripes(key: str) -> None:
    variables = {**PRODUCTION, "DEBUG": "true", "STRIPE_API_KEY": key}

    result = run(MANAGE, **variables)

    assert result.returncode == 1
    [line] = result.stderr.splitlines()
    assert "DEMO_AUTH is on and STRIPE_API_KEY is a live one" in line
    assert key not in line
    assert run(MANAGE, **variables, DEMO_AUTH="false").returncode == 0


def test_granian_ends_with_the_same_line() -> None:
    granian = ["-m", "granian", "--interface", "asgi", "--port", str(free_port())]
    result = run([*granian, "rocketrides.asgi:application"], DEBUG="false")

    assert result.returncode != 0
    assert "DEBUG is off" in result.stderr + result.stdout


def test_debug_off_starts_when_everything_is_set() -> None:
    result = run(MANAGE, **PRODUCTION)

    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("debug", ["true", "false"])
def test_a_configured_process_never_imports_the_sandbox(debug: str) -> None:
    names = "[name for name in sys.modules if name.partition('.')[0] == 'sandbox']"
    code = f"import sys, rocketrides.wsgi, rocketrides.asgi; print({names})"
    result = run(["-c", code], **{**PRODUCTION, "DEBUG": debug})

    assert (result.stdout.strip(), result.stderr) == ("[]", "")


def test_a_line_end_after_a_value_is_no_part_of_it() -> None:
    names = "SECRET_KEY, settings.STRIPE_API_KEY, settings.DATABASES['default']['NAME']"
    mounted = {name: f" {value}\n" for name, value in PRODUCTION.items()}

    assert setting(names, **mounted) == setting(names, **PRODUCTION)


def test_a_secret_of_nothing_but_a_line_end_is_missing() -> None:
    result = run(MANAGE, **{**PRODUCTION, "STRIPE_API_KEY": "\n"})

    [line] = result.stderr.splitlines()
    assert "not set: STRIPE_API_KEY" in line


@pytest.mark.parametrize("key", ["sk_test_canary\nX-Field: 1", "sk_test_canary é", "canary\x7f"])
def test_a_key_that_no_head_can_carry_is_one_line_without_it(key: str) -> None:
    result = run(MANAGE, **{**PRODUCTION, "STRIPE_API_KEY": key})

    assert result.returncode == 1
    [line] = result.stderr.splitlines()
    assert "STRIPE_API_KEY holds a" in line
    assert "canary" not in line


@pytest.mark.parametrize("hosts", ["*", ".example.com, *"])
def test_a_bank_cannot_lead_back_to_a_wildcard(hosts: str) -> None:
    result = run(MANAGE, **{**PRODUCTION, "ALLOWED_HOSTS": hosts})

    assert result.returncode == 1
    [line] = result.stderr.splitlines()
    assert "PAYMENT_RETURN_URL is not set" in line


def test_a_bank_leads_back_to_the_first_whole_name() -> None:
    hosts = {**PRODUCTION, "ALLOWED_HOSTS": ".example.com, rides.example.com"}

    assert setting("PAYMENT_RETURN_URL", **hosts) == "https://rides.example.com/"


def test_a_stripe_key_means_stripe_itself() -> None:
    assert setting("STRIPE_API_BASE", **PRODUCTION) == "https://api.stripe.com"


def test_no_stripe_key_means_the_stand_in() -> None:
    variables = {**PRODUCTION, "DEBUG": "true", "STRIPE_API_KEY": "", "SANDBOX_STRIPE_PORT": "99"}

    assert setting("STRIPE_API_BASE", **variables) == "http://127.0.0.1:99"
    assert setting("STRIPE_API_KEY", **variables) == "sk_test_sandbox"


def database(url: str) -> dict[str, str]:
    found = setting("DATABASES['default']", **{**PRODUCTION, "DATABASE_URL": url})
    return dict(ast.literal_eval(found))


def place(url: str) -> tuple[str, str, str]:
    found = database(url)
    return found["HOST"], found["PORT"], found["NAME"]


@pytest.mark.parametrize(
    ("url", "where"),
    [
        ("postgres://user@%2Fvar%2Frun%2FPg/rides", ("/var/run/Pg", "", "rides")),
        ("postgresql://user@/rides?host=%2Fvar%2Frun%2FPg&port=1", ("/var/run/Pg", "1", "rides")),
        ("postgres://user:pw@a:5432,b:5433/rides", ("a,b", "5432,5433", "rides")),
        ("postgres:///rides?host=a,b", ("a,b", "", "rides")),
        ("postgres://user:p%2Fw@[::1]:5432/rides", ("::1", "5432", "rides")),
    ],
)
def test_a_database_url_means_what_libpq_reads_in_it(url: str, where: tuple[str, str, str]) -> None:
    assert place(url) == where


def test_a_database_url_can_ask_for_the_server_that_writes() -> None:
    found = database("postgres://user:pw@a,b/rides?target_session_attrs=read-write")

    assert found["OPTIONS"]["target_session_attrs"] == "read-write"


def test_a_database_url_can_have_settings_of_djangos() -> None:
    found = database("postgres://a/rides?conn_max_age=60&disable_server_side_cursors=true")

    assert (found["CONN_MAX_AGE"], found["DISABLE_SERVER_SIDE_CURSORS"]) == (60, True)


@pytest.mark.parametrize("password", ["se/cret", "se?cret", "se#cret", "se@cret", "12/cret?=@"])
def test_a_password_that_is_not_escaped_is_one_line_without_it(password: str) -> None:
    url = f"postgres://user:{password}@db.example.com:5432/rides"
    result = run(MANAGE, **{**PRODUCTION, "DATABASE_URL": url})

    assert result.returncode == 1
    [line] = result.stderr.splitlines()
    assert "DATABASE_URL cannot be read" in line
    assert "cret" not in line


@pytest.mark.parametrize(
    "url",
    [
        *["postgres://user:pw@a/rides?nonsense=1", "mysql://a/rides", "x"],
        *["postgres://user:pw@a:5432", "postgres://user:pw@a:5432/"],  # without a name
    ],
)
def test_a_database_url_of_something_else_is_one_line(url: str) -> None:
    result = run(MANAGE, **{**PRODUCTION, "DATABASE_URL": url})

    assert result.returncode == 1
    [line] = result.stderr.splitlines()
    assert "DATABASE_URL" in line


def test_a_server_that_falls_silent_is_given_up_within_its_limit() -> None:
    options = database(PRODUCTION["DATABASE_URL"])["OPTIONS"]

    assert options["tcp_user_timeout"] == 10_000
    asked = options["keepalives_interval"] * options["keepalives_count"]
    assert options["keepalives_idle"] + asked <= 15


def test_the_limit_of_silence_can_be_set_and_left_to_tcp() -> None:
    options = "DATABASES['default']['OPTIONS'].get('tcp_user_timeout')"

    assert setting(options, **PRODUCTION, DATABASE_SILENCE_SECONDS="3") == "3000"
    assert setting(options, **PRODUCTION, DATABASE_SILENCE_SECONDS="0") == "None"


def test_startup_options_can_be_emptied_for_pgbouncer() -> None:
    options = "DATABASES['default']['OPTIONS']['options']"

    assert setting(options, **PRODUCTION, DATABASE_SESSION_OPTIONS="") == ""


@pytest.mark.parametrize(
    ("name", "text"),
    [("PORT", "abc"), ("PORT", "70000"), ("SANDBOX_STRIPE_PORT", "0"), ("RETENTION_SECONDS", "-1")],
)
def test_a_number_that_is_none_is_one_line_that_names_it(name: str, text: str) -> None:
    result = run(MANAGE, **{**PRODUCTION, name: text})

    assert result.returncode == 1
    [line] = result.stderr.splitlines()
    assert f"{name} is '{text}', which is not a whole number" in line


@pytest.mark.parametrize(
    ("name", "text", "wrong"),
    [
        ("DEBUG", "flase", "neither true nor false"),
        ("LOG_LEVEL", "chatty", "none of DEBUG, INFO"),
        ("EMAIL_URL", "nope-canary", "not a URL"),
        ("EMAIL_URL", "smtp://user:canary@:nope", "not a URL"),
        ("EMAIL_URL", "smtp:canary", "not a URL"),
        ("STRIPE_API_BASE", "api.stripe.com", "not an address"),
        ("STRIPE_API_BASE", "https://api.stripe.com/é", "not an address"),
        ("TASKS_BROKER_URL", "redis:canary", "not a URL"),
        ("CACHE_URL", "memcached://canary:11211", "not a URL"),
        ("CACHE_URL", "dbcache:canary", "not a URL"),
        ("TRUSTED_PROXIES", "proxy", "names no network"),
        ("DATABASE_POOL_SIZE", "many", "not a whole number"),
    ],
)
def test_a_variable_that_means_nothing_is_one_line_without_what_may_be_a_secret(
    name: str, text: str, wrong: str
) -> None:
    result = run(MANAGE, **{**PRODUCTION, name: text})

    assert result.returncode == 1
    [line] = result.stderr.splitlines()
    assert name in line
    assert wrong in line
    assert "canary" not in line


def test_words_mean_the_same_in_small_letters_and_with_spaces_between_them() -> None:
    said = {"LOG_LEVEL": "debug", "ALLOWED_HOSTS": "a.example, b.example ,", "DEBUG": " False"}

    assert setting("LOG_LEVEL", **{**PRODUCTION, **said}) == "DEBUG"
    assert setting("LOG_FORMAT", **PRODUCTION) == "json"
    assert setting("LOG_FORMAT", **PRODUCTION, **{"LOG_FORMAT": "line"}) == "line"
    assert setting("LOG_FORMAT", **PRODUCTION, **{"LOG_FORMAT": "JSON"}) == "json"
    assert setting("ALLOWED_HOSTS", **{**PRODUCTION, **said}) == "['a.example', 'b.example']"


def test_mails_stay_in_the_demos_folder_whatever_it_is_called(tmp_path: Path) -> None:
    folder = tmp_path / "50%+ #1?"
    demo = {**PRODUCTION, "DEBUG": "true", "LOCAL_DIR": str(folder), "EMAIL_URL": ""}

    assert setting("EMAIL_FILE_PATH", **demo) == f"{folder}/mail"


def test_a_platform_that_collects_static_files_may_do_so(tmp_path: Path) -> None:
    collect = ["manage.py", "collectstatic", "--no-input", "--verbosity", "0"]
    result = run(collect, **PRODUCTION, LOCAL_DIR=str(tmp_path))

    assert (result.returncode, result.stderr) == (0, "")
    assert (tmp_path / "static/admin/css/base.css").exists()


def test_a_number_set_to_nothing_is_not_set() -> None:
    assert setting("PORT", **PRODUCTION, PORT="") == "5000"


def test_a_dotenv_file_counts_and_the_environment_wins(tmp_path: Path) -> None:
    shutil.copytree(BASE_DIR / "rocketrides", tmp_path / "rocketrides")
    # With the mark by which some editors begin a file.
    (tmp_path / ".env").write_text("LOG_LEVEL=DEBUG\nPORT=1\n", encoding="utf-8-sig")
    code = "from rocketrides import settings; print(settings.LOG_LEVEL, settings.PORT)"
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, **PRODUCTION, "PORT": "2"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert result.stdout.split() == ["DEBUG", "2"], result.stderr


def test_each_secret_may_stand_in_a_file_which_wins(tmp_path: Path) -> None:
    in_files = {}
    for name in ("SECRET_KEY", "DATABASE_URL", "STRIPE_API_KEY"):
        (tmp_path / name).write_text(f"{PRODUCTION[name]}-in-a-file\n")
        in_files[f"{name}_FILE"] = str(tmp_path / name)

    said = {**PRODUCTION, **in_files}

    assert setting("STRIPE_API_KEY", **said) == "sk_test_of_no_consequence-in-a-file"
    assert setting("SECRET_KEY", **{**said, "SECRET_KEY": ""}).endswith("-in-a-file")
    assert "nowhere-in-a-file" in setting("DATABASES", **said)


def test_a_secrets_file_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    result = run(MANAGE, **{**PRODUCTION, "SECRET_KEY_FILE": str(tmp_path / "none")})

    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert "SECRET_KEY_FILE names" in result.stderr
    assert "No such file" in result.stderr


def test_env_example_lists_every_variable_that_is_read() -> None:
    sources = [
        BASE_DIR / "rocketrides" / name for name in ("settings.py", "environment.py", "cores.py")
    ]
    text = "".join(source.read_text() for source in sources)
    readers = (
        r"env\.\w+|environ\.get|text|secret|credential|namespace|number|boolean|words|one_of"
        r"|web_address|broker|mail|cache|schema"
    )
    found = re.findall(rf'\b(?:{readers})\(\s*"(\w+)"', text)
    read = set(found)
    paces = {f"{name}_SECONDS" for name in re.findall(r'"(\w+)"', pace_names(text))}
    read -= {"no_proxy", "NO_PROXY"}  # which are everybody's
    listed = set(re.findall(r"^#(\w+)=", (BASE_DIR / ".env.example").read_text(), re.MULTILINE))

    in_files = {f"{name}_FILE" for name in SECRETS}
    assert listed == read | paces | in_files


def pace_names(text: str) -> str:
    found = re.search(r"for name in \((.*?)\)\n", text, re.DOTALL)
    assert found
    return found[1]


@pytest.mark.parametrize("debug", ["true", "false"])
def test_granian_serves_the_admins_files_without_a_build_step(debug: str) -> None:
    with granian({**PRODUCTION, "DEBUG": debug}) as address:
        answer = get(f"{address}/static/admin/css/base.css", BY_TLS)

    assert (answer.status_code, "--primary" in answer.text) == (200, True)


def get(address: str, headers: Mapping[str, str] | None = None) -> requests.Response:
    """Ask a server that is about to listen."""
    with requests.Session() as client:
        client.mount("http://", HTTPAdapter(max_retries=Retry(connect=10, backoff_factor=0.05)))
        return client.get(address, timeout=10, headers=headers, allow_redirects=False)


def test_production_has_no_warning_of_djangos() -> None:
    """The others are of this test: there is no database, and no Stripe."""
    check = ["manage.py", "check", "--deploy", "--fail-level", "WARNING"]
    besides = {
        "STRIPE_WEBHOOK_SECRET": "whsec_of_no_consequence",
        "CACHE_URL": "dbcache://rides_cache",
    }
    result = run(check, **PRODUCTION, **besides)

    warned = set(re.findall(r"\((\w+\.W\d+)\)", result.stderr))
    assert warned <= {"rides.W001", "rides.W002"}, result.stderr


def test_without_tls_a_request_is_led_to_it_but_for_what_is_asked_behind_the_proxy() -> None:
    with granian({**PRODUCTION, "METRICS_TOKEN": "shown"}) as address:
        plain = get(f"{address}/admin/login/")
        asked = get(f"{address}/healthz")
        scraped = get(f"{address}/metrics", {"Authorization": "Bearer shown"})
        safe = get(f"{address}/docs", BY_TLS)

    assert (plain.status_code, plain.headers["Location"][:8]) == (301, "https://")
    assert asked.status_code == 200
    assert "idempotency_database_up 0.0" in scraped.text
    assert safe.status_code == 200
    assert safe.headers["Strict-Transport-Security"] == "max-age=31536000"
    assert "default-src 'self'" in safe.headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in safe.headers["Content-Security-Policy"]


def test_an_instance_whose_database_never_answers_is_alive_and_has_its_numbers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, ThreadPoolExecutor(4) as asking:
        silent.settimeout(10)
        database = f"postgres://nobody@127.0.0.1:{silent.getsockname()[1]}/nowhere"
        of_it = {**PRODUCTION, "DATABASE_URL": database, "METRICS_TOKEN": "shown"}
        with granian(of_it) as address:
            assert get(f"{address}/healthz").status_code == 200
            asked = [asking.submit(requests.get, f"{address}/readyz", timeout=30) for _ in range(4)]
            held = [silent.accept()[0] for _ in range(2)]  # as many as are asked at a time

            assert requests.get(f"{address}/healthz", timeout=2).status_code == 200
            scraped = get(f"{address}/metrics", {"Authorization": "Bearer shown"})
            assert "idempotency_database_up 0.0" in scraped.text
            for session in (silent, *held):
                session.close()
            assert {answer.result().status_code for answer in asked} == {503}


@contextmanager
def granian(variables: dict[str, str]) -> Iterator[str]:
    """A real server that is about to listen; ended by its process id."""
    port = free_port()
    process = subprocess.Popen(
        [
            *[sys.executable, "-m", "granian", "--interface", "asgi", "--port", str(port)],
            "rocketrides.asgi:application",
        ],
        cwd=BASE_DIR,
        env=os.environ | UNSET | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    try:
        assert any("Started worker" in line for line in process.stdout)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=10)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.django_db
def test_every_session_bounds_its_waits() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT current_setting('lock_timeout'),"
            " current_setting('idle_in_transaction_session_timeout'),"
            " current_setting('application_name')"
        )
        assert cursor.fetchone() == ("10s", "30s", "rocketrides")


@pytest.mark.django_db(transaction=True)
def test_a_connection_that_the_server_ended_is_replaced_at_the_next_request() -> None:
    with connection.cursor() as cursor, pytest.raises(OperationalError):
        cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    close_old_connections()  # as Django does before and after each request

    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        assert cursor.fetchone() == (1,)
