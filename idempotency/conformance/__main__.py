"""`python -m idempotency.conformance URL`: see `--help`. A broken promise is exit code 1."""

import argparse
import json
import sys
from pathlib import Path

from idempotency.conformance.asking import Api
from idempotency.conformance.reports import as_json, as_junit, as_text, ask_all


def main() -> int:
    options = parse()
    findings = ask_all(
        Api(
            url=options.url,
            body=options.body,
            other=options.other_body,
            headers=dict(options.header),
            strangers_headers=dict(options.other_header) if options.other_header else None,
            method=options.method,
            is_form=options.form,
            counted_at=options.count_url,
        )
    )
    if options.junit:
        options.junit.write_text(as_junit(findings), encoding="utf-8")
    sys.stdout.write(as_json(findings) if options.json else as_text(findings))
    return 1 if any(each.is_failure for each in findings) else 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m idempotency.conformance",
        description="Ask an HTTP API whether it keeps what idempotency keys promise.",
        epilog="Each question sends requests that do something: ask a test installation.",
    )
    parser.add_argument("url", help="the address of what is done, such as https://…/rides")
    parser.add_argument("--method", default="POST")
    parser.add_argument("--body", type=json.loads, default={}, metavar="JSON", help="what is sent")
    parser.add_argument(
        "--other-body",
        type=json.loads,
        required=True,
        metavar="JSON",
        help="the fields that make another request of it",
    )
    parser.add_argument("--form", action="store_true", help="send a form in place of JSON")
    parser.add_argument(
        "--header",
        type=header,
        action="append",
        default=[],
        help="'Name: value', such as a credential",
    )
    parser.add_argument(
        "--other-header", type=header, action="append", default=[], help="another client's"
    )
    parser.add_argument("--count-url", help="whose JSON has a number, or a list, of what was done")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--junit", type=Path, metavar="FILE", help="write JUnit's XML besides")
    return parser.parse_args()


def header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not (colon and name.strip()):
        raise argparse.ArgumentTypeError(f"{text!r} is not 'Name: value'")
    return name.strip(), value.strip()


if __name__ == "__main__":
    sys.exit(main())
