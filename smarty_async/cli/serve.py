"""``serve``: the embedded service, for those without an account, for tests and for benchmarks."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Annotated, Literal

import typer

__all__ = ["serve"]


_ENGINE, _LIMITS, _FAULTS = "Engine", "Limits", "Faults, to try things out"


def _share(text: str) -> object:
    return typer.Option(min=0.0, max=1.0, metavar="SHARE", help=text, rich_help_panel=_FAULTS)


def _seconds(text: str) -> object:
    return typer.Option(min=0.0, metavar="SECONDS", help=text, rich_help_panel=_FAULTS)


def _limit(text: str, metavar: str) -> object:
    return typer.Option(min=1, metavar=metavar, help=text, rich_help_panel=_LIMITS)


def serve(
    *,
    host: Annotated[str, typer.Option(metavar="HOST", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(metavar="N", min=0, max=65535, help="Port to listen on; 0 picks a free one.")
    ] = 8080,
    port_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", dir_okay=False, help="File to write the port to, once the service is ready."),
    ] = None,
    engine: Annotated[
        Literal["basic", "echo", "restore"] | None,
        typer.Option(
            help="restore: learned restoration; basic: corrects with Pillow; echo: sends the photo back. "
            "[default: restore where the extra 'local' is installed, else basic]",
            show_default=False,
            rich_help_panel=_ENGINE,
        ),
    ] = None,
    toning: Annotated[
        bool,
        typer.Option(
            "--toning/--no-toning", help="Also make toned outputs of monochrome photos.", rich_help_panel=_ENGINE
        ),
    ] = True,
    colourist: Annotated[
        Path | None,
        typer.Option(
            dir_okay=False,
            exists=True,
            metavar="FILE.onnx",
            help="A network of your own that colours monochrome photos, instead of toning; see docs/engine.md.",
            rich_help_panel=_ENGINE,
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, help="Images worked on at a time. [default: one per CPU]", rich_help_panel=_ENGINE
        ),
    ] = None,
    error_style: Annotated[
        Literal["http", "envelope"],
        typer.Option(help="http: errors under their own status; envelope: under HTTP 200, as envelopes."),
    ] = "http",
    max_images: Annotated[int, _limit("Images in one request.", "N")] = 48,
    max_image_bytes: Annotated[
        int | None, _limit("Bytes of one image. [default: as the memory allows]", "BYTES")
    ] = None,
    max_request_bytes: Annotated[
        int | None, _limit("Bytes of a request with several images. [default: no limit]", "BYTES")
    ] = None,
    fail_temporary: Annotated[float, _share("Share of items answered with status 2, chosen again each time.")] = 0.0,
    fail_permanent: Annotated[float, _share("Share of images always answered with status 1.")] = 0.0,
    fail_request: Annotated[float, _share("Share of requests answered with 500.")] = 0.0,
    unavailable: Annotated[float, _share("Share of requests answered with 503.")] = 0.0,
    throttle: Annotated[float, _share("Share of requests answered with 429.")] = 0.0,
    drop: Annotated[float, _share("Share of connections broken in the middle of the answer.")] = 0.0,
    retry_after: Annotated[
        int,
        typer.Option(
            metavar="SECONDS",
            min=0,
            help="Retry-After of answers with 429 and 503, in whole seconds.",
            rich_help_panel=_FAULTS,
        ),
    ] = 1,
    latency: Annotated[float, _seconds("Wait before each answer.")] = 0.0,
    latency_per_image: Annotated[float, _seconds("Wait before each item of an answer.")] = 0.0,
    seed: Annotated[int, typer.Option(metavar="N", help="The seed of the random faults.", rich_help_panel=_FAULTS)] = 0,
    exit_with_stdin: Annotated[bool, typer.Option("--exit-with-stdin", hidden=True)] = False,
) -> None:
    """Run the embedded service on this machine, without an account, until Ctrl-C.

    The address that it prints is a page for the browser: drop photos there, compare before and after, download the
    results.

    For programs, it answers POST /api/v1/photo/improve with any provider and any token.
    """
    from smarty_async.local import contract, faults, server  # noqa: PLC0415 - help is quick
    from smarty_async.local.engine import EngineOptions, best_engine, engine_named  # noqa: PLC0415 - help is quick

    options = EngineOptions(toning=toning, colourist=str(colourist) if colourist else None)
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    maker = engine_named(engine or best_engine(), options)
    application = server.make_app(
        engine=maker,
        faults=faults.Faults(
            fail_temporary=fail_temporary,
            fail_permanent=fail_permanent,
            fail_request=fail_request,
            unavailable=unavailable,
            throttle=throttle,
            drop=drop,
            retry_after=retry_after,
            latency=latency,
            latency_per_image=latency_per_image,
            seed=seed,
        ),
        limits=contract.Limits(
            max_images=max_images, max_image_bytes=max_image_bytes, max_request_bytes=max_request_bytes
        ),
        error_style=error_style,
        workers=workers,
        hosts=(host,),
    )
    status = asyncio.run(
        server.serve_until_stopped(
            application,
            host=host,
            port=port,
            port_file=port_file,
            exit_with_stdin=exit_with_stdin,
            ready=lambda url: typer.echo(f"listening on {url} (engine: {maker.name})"),
        )
    )
    raise typer.Exit(status)
