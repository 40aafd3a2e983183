"""A real S3 server: moto's, with authorization on, in a thread."""

from __future__ import annotations

import json
import logging
import sys
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode
from urllib.request import Request, urlopen

import pytest

__all__ = ["BUCKET", "S3Server", "s3_server"]

BUCKET = "photos"

REGION = "us-east-1"

_ACCOUNT = "123456789012"
"""The account of everyone without another, in moto."""


class S3Server:
    """The server, and what was asked of it.

    Attributes:
        url: its address.
        key: the access key that may do everything.
        secret: of that key.
        readers: an access key, and its secret, that may only list and read.
        others: an access key, and its secret, that may do everything, too.
        requests: how many of each kind there were, as ``PUT``, ``LIST``, ``GET`` …
        failing: the kind of request, a part of its path, and the status that it is refused with.
        code: the store's error code in those answers; none when empty.
        failing_key: the access key whose requests alone fail so; all when empty.
        held: a part of the path of PUTs that are answered only when the event is set.
        losing: the kind of request, and a part of its path: the next such request is carried out, and its answer lost
            on the way; a gateway answers 503.
        ignores_conditions: whether ``If-Match`` and ``If-None-Match`` of a PUT are ignored, as some stores do.
    """

    def __init__(self, *, ignores_conditions: bool = False) -> None:
        from moto.moto_server.werkzeug_app import (  # noqa: PLC0415 - a group of its own
            DomainDispatcherApplication,
            create_backend_app,
        )
        from werkzeug.serving import make_server  # noqa: PLC0415

        self.requests: Counter[str] = Counter()
        self.ignores_conditions = ignores_conditions
        self.failing: list[tuple[str, str, int]] = []
        self.code = self.failing_key = ""
        self.held: list[tuple[str, threading.Event]] = []
        self.losing: list[tuple[str, str]] = []
        self._app = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.key = self.secret = "test"
        self.readers = self.others = ("", "")

    def _answer(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        sys.settrace(None)  # this thread is the server's: where coverage is measured, its calls are no concern
        method, query = environ["REQUEST_METHOD"], environ.get("QUERY_STRING", "")
        kind = "LIST" if method == "GET" and "list-type" in query else method
        self.requests[kind] += 1
        # As S3 reads it: moto signs the query as it is spelled, and obstore spells a space and a tilde in another way.
        environ["QUERY_STRING"] = urlencode(parse_qsl(query, keep_blank_values=True), quote_via=quote, safe="-_.~")
        for part, released in self.held:
            if method == "PUT" and part in environ["PATH_INFO"]:
                released.wait()
        for failing, part, status in self.failing:
            signed = self.failing_key in environ.get("HTTP_AUTHORIZATION", "")
            if failing == kind and part in environ["PATH_INFO"] and signed:
                body = f"<Error><Code>{self.code}</Code></Error>".encode() if self.code else b""
                start_response(f"{status} Refused", [("Content-Length", str(len(body)))])
                return [body]
        if self.ignores_conditions and method == "PUT":
            environ.pop("HTTP_IF_NONE_MATCH", None)
            environ.pop("HTTP_IF_MATCH", None)
        if lost := next((each for each in self.losing if kind == each[0] and each[1] in environ["PATH_INFO"]), None):
            self.losing.remove(lost)
            list(self._app(environ, _unheard))
            start_response("503 Refused", [("Content-Length", "0")])
            return [b""]
        answer: Iterable[bytes] = self._app(environ, start_response)
        return answer

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    # objects

    @property
    def environment(self) -> dict[str, Any]:
        """The variables for a program that uses it."""
        return {
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_ENDPOINT_URL": self.url,
            "AWS_REGION": REGION,
        }

    @property
    def options(self) -> dict[str, Any]:
        """The same as options of a store."""
        return {
            "access_key_id": self.key,
            "secret_access_key": self.secret,
            "endpoint": self.url,
            "region": REGION,
        }

    def client(self, service: str = "s3") -> Any:
        """boto3's client of it."""
        boto3, config = import_module("boto3"), import_module("botocore.config")  # without types
        return boto3.client(
            service,
            endpoint_url=self.url,
            aws_access_key_id=self.key,
            aws_secret_access_key=self.secret,
            region_name=REGION,
            config=config.Config(s3={"addressing_style": "path"}),
        )

    def authorize(self) -> None:
        """From now on a request needs a key; those of this server are made."""
        import moto.settings  # noqa: PLC0415

        iam = self.client("iam")
        keys: list[tuple[str, str]] = []
        for user, actions in (("owner", ["*"]), ("reader", ["s3:List*", "s3:Get*"]), ("other", ["*"])):
            iam.create_user(UserName=user)
            made = iam.create_access_key(UserName=user)["AccessKey"]
            keys.append((made["AccessKeyId"], made["SecretAccessKey"]))
            statement = {"Effect": "Allow", "Action": actions, "Resource": "*"}
            document = {"Version": "2012-10-17", "Statement": [statement]}
            iam.put_user_policy(UserName=user, PolicyName=user, PolicyDocument=json.dumps(document))
        (self.key, self.secret), self.readers, self.others = keys
        moto.settings.INITIAL_NO_AUTH_ACTION_COUNT = 0

    def put(self, objects: dict[str, bytes], *, prefix: str = "") -> None:
        """Put objects into the bucket; not by requests, of which there may be thousands."""
        backend = import_module("moto.s3.models").s3_backends[_ACCOUNT]["aws"]
        for key, data in objects.items():
            backend.put_object(BUCKET, prefix + key, data)

    def objects(self, prefix: str = "") -> dict[str, bytes]:
        """What is in the bucket below `prefix`, by the rest of the key."""
        client, found = self.client(), {}
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix):
            for one in page.get("Contents", []):
                data = client.get_object(Bucket=BUCKET, Key=one["Key"])["Body"].read()
                found[one["Key"].removeprefix(prefix)] = data
        return found


def _unheard(*_: object) -> None:
    """Takes the head of an answer that is lost."""


@contextmanager
def s3_server(*, authorized: bool = True, ignores_conditions: bool = False) -> Iterator[S3Server]:
    """A server with the empty bucket `BUCKET`; tests are skipped where it is not installed."""
    pytest.importorskip("moto")
    pytest.importorskip("obstore")
    import moto.settings  # noqa: PLC0415

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it logs every request
    moto.settings.INITIAL_NO_AUTH_ACTION_COUNT = float("inf")
    server = S3Server(ignores_conditions=ignores_conditions)
    try:
        urlopen(Request(f"{server.url}/moto-api/reset", method="POST")).close()  # noqa: S310 - moto keeps one state for all
        server.client().create_bucket(Bucket=BUCKET)
        if authorized:
            server.authorize()
        yield server
    finally:
        server.close()
        moto.settings.INITIAL_NO_AUTH_ACTION_COUNT = float("inf")
