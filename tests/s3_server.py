"""moto's S3 server, as a program: PORT [CERTIFICATE KEY].

It is the whole protocol, over HTTP or HTTPS, and believes whatever it is sent. So what a real
server refuses is refused here, in front of it: a body that is not what its checksums say.
"""

import base64
import hashlib
import io
import sys
from typing import Any

from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from werkzeug.serving import run_simple


def exact(application: Any) -> Any:
    """The application, behind something that compares each body with its checksums."""

    def checked(environ: dict[str, Any], start: Any) -> Any:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(body)
        digest = hashlib.sha256(body).digest()
        signed = environ.get("HTTP_X_AMZ_CONTENT_SHA256", "UNSIGNED-PAYLOAD")
        told = environ.get("HTTP_X_AMZ_CHECKSUM_SHA256")
        code = None
        if told is not None and base64.b64decode(told) != digest:
            code = "BadDigest"
        elif len(signed) == 64 and signed != digest.hex():
            code = "XAmzContentSHA256Mismatch"

        def begin(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
            # The server that it runs in says these, and a client will not hear them twice.
            once = [
                (name, said) for name, said in headers if name.lower() not in {"server", "date"}
            ]
            return start(status, once, *more)

        if code is None:
            return application(environ, begin)
        start("400 Bad Request", [("Content-Type", "application/xml")])
        return [f"<Error><Code>{code}</Code><Message>It is not that.</Message></Error>".encode()]

    return checked


if __name__ == "__main__":
    port, *certified = sys.argv[1:]
    run_simple(
        "127.0.0.1",
        int(port),
        exact(DomainDispatcherApplication(create_backend_app)),
        threaded=True,
        request_handler=MotoRequestHandler,
        ssl_context=(certified[0], certified[1]) if certified else None,
    )
