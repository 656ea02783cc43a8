"""The engine's `ResourceProvider` service, the same for every type."""

from __future__ import annotations

import json
from typing import Any

import grpc
from google.protobuf import empty_pb2
from pulumi.runtime.proto import plugin_pb2, provider_pb2, provider_pb2_grpc

from lab.aws_plugin import diff, types
from lab.aws_plugin.check import check
from lab.aws_plugin.clients import Clients
from lab.aws_plugin.errors import explained, init_failed, one_error, text_of
from lab.aws_plugin.invokes import INVOKES
from lab.aws_plugin.spec import PluginError, Spec
from lab.aws_plugin.values import UNKNOWN, Props, from_struct, secret, to_struct

VERSION = "7.51.1"


class Plugin(provider_pb2_grpc.ResourceProviderServicer):
    """One provider: configured once, then asked about resources."""

    def __init__(self) -> None:
        self._clients = Clients()

    # --- life

    def GetPluginInfo(self, request: Any, context: Any) -> Any:  # noqa: ARG002
        """Say which version this stands in for."""
        return plugin_pb2.PluginInfo(version=VERSION)

    def CheckConfig(self, request: Any, context: Any) -> Any:  # noqa: ARG002
        """Take any configuration."""
        return provider_pb2.CheckResponse(inputs=request.news)

    def DiffConfig(self, request: Any, context: Any) -> Any:  # noqa: ARG002
        """Never replace the provider."""
        return provider_pb2.DiffResponse()

    def Configure(self, request: Any, context: Any) -> Any:  # noqa: ARG002
        """Remember the Region; credentials come by the AWS SDK's own rules."""
        args = from_struct(request.args)
        region = args.get("region") or request.variables.get("aws:config:region")
        self._clients.region = str(region) if region else None
        # Settings that have parts come as the text of their JSON.
        tags = args.get("defaultTags") or request.variables.get("aws:config:defaultTags") or "{}"
        given = json.loads(tags) if isinstance(tags, str) else tags
        self._clients.default_tags = dict(given.get("tags") or {})
        return provider_pb2.ConfigureResponse(
            supportsPreview=True, supports_autonaming_configuration=True
        )

    def Cancel(self, request: Any, context: Any) -> Any:  # noqa: ARG002
        """Nothing runs that could be cut short."""
        return empty_pb2.Empty()

    # --- resources

    def Check(self, request: Any, context: Any) -> Any:
        """Fill in defaults and say what can't be."""
        kind, logical = _kind(request.urn)
        spec = _spec(kind, context)
        inputs, reasons = check(
            spec,
            logical,
            from_struct(request.olds),
            from_struct(request.news),
            self._clients.require_region(),
            self._clients.default_tags,
        )
        failures = [provider_pb2.CheckFailure(reason=reason) for reason in reasons]
        return provider_pb2.CheckResponse(inputs=_answer(spec, inputs), failures=failures)

    def Diff(self, request: Any, context: Any) -> Any:
        """Compare the last state with the desired inputs."""
        spec = _spec(_kind(request.urn)[0], context)
        found = diff.compare(
            spec,
            from_struct(request.olds),
            from_struct(request.news),
            list(request.ignoreChanges),
        )
        some, none = provider_pb2.DiffResponse.DIFF_SOME, provider_pb2.DiffResponse.DIFF_NONE
        return provider_pb2.DiffResponse(
            changes=some if found.changed else none,
            diffs=found.changed,
            replaces=found.replaces,
            stables=found.stables,
            deleteBeforeReplace=found.delete_first,
            hasDetailedDiff=True,
            detailedDiff={
                path: provider_pb2.PropertyDiff(kind=kind)  # type: ignore[arg-type]
                for path, kind in found.detailed.items()
            },
        )

    def Create(self, request: Any, context: Any) -> Any:
        """Make a resource, or say what would be known of it."""
        spec = _spec(_kind(request.urn)[0], context)
        news = from_struct(request.properties)
        if request.preview:
            return provider_pb2.CreateResponse(properties=_answer(spec, _planned(spec, news)))
        made: list[str] = []
        try:
            spec.operations.create(self._clients, news, made.append)
            state = self._state(spec, made[-1], news)
        except Exception as error:
            if not made:
                with explained(context):
                    raise
            self._fail_behind(context, request.urn, spec, made[-1], news, error)
            raise AssertionError from None
        return provider_pb2.CreateResponse(id=made[-1], properties=_answer(spec, state))

    def _fail_behind(
        self, context: Any, urn: str, spec: Spec, identity: str, news: Props, error: Exception
    ) -> None:
        """Fail a Create whose resource is there: of it only what was asked for is known.

        The official plugin's Update fails like that too, and then keeps what was wanted as what
        is; that was not recorded, and here a failed Update keeps what was.
        """
        unknown = dict.fromkeys(spec.outputs | spec.computed)
        given = {name: value for name, value in news.items() if name != "__defaults"}
        init_failed(
            context,
            f"creating {urn}: {one_error(text_of(error))}",
            identity,
            _answer(spec, unknown | given | {"id": identity}),
            _answer(spec, news),
        )

    def Read(self, request: Any, context: Any) -> Any:
        """Return the live state, nothing when the resource is gone."""
        spec = _spec(_kind(request.urn)[0], context)
        known, inputs = from_struct(request.properties), from_struct(request.inputs)
        with explained(context):
            live = spec.operations.read(self._clients, request.id, known or inputs)
        if live is None:
            return provider_pb2.ReadResponse()
        state = known | live
        refreshed = {
            name: live.get(name, value) if name in spec.inputs else value
            for name, value in inputs.items()
        }
        if not inputs:  # an import: everything that is set becomes an input
            state |= spec.imported
            refreshed = {k: v for k, v in live.items() if k in spec.inputs and v} | dict(
                spec.defaults
            )
        return provider_pb2.ReadResponse(
            id=request.id,
            properties=_answer(spec, state),
            inputs=_answer(spec, refreshed),
        )

    def Update(self, request: Any, context: Any) -> Any:
        """Change a resource in place."""
        spec = _spec(_kind(request.urn)[0], context)
        olds, news = from_struct(request.olds), from_struct(request.news)
        for path in request.ignoreChanges:
            # Ignored is what AWS has made of it, which the inputs need not know.
            name = path.partition(".")[0].partition("[")[0]
            if name in olds:
                news[name] = olds[name]
        if request.preview:
            planned = olds | news
            return provider_pb2.UpdateResponse(properties=_answer(spec, planned))
        with explained(context, f"updating {request.urn}"):
            spec.operations.update(self._clients, request.id, olds, news)
            state = self._state(spec, request.id, news)
        return provider_pb2.UpdateResponse(properties=_answer(spec, state))

    def Delete(self, request: Any, context: Any) -> Any:
        """Delete a resource."""
        spec = _spec(_kind(request.urn)[0], context)
        with explained(context, f"deleting {request.urn}"):
            spec.operations.delete(self._clients, request.id, from_struct(request.properties))
        return empty_pb2.Empty()

    def _state(self, spec: Spec, identity: str, news: Props) -> Props:
        live = spec.operations.read(self._clients, identity, news)
        if live is None:
            raise PluginError(f"{identity} was made, and is not there")
        given = {name: value for name, value in news.items() if name != "__defaults"}
        return given | live | {"id": identity}

    # --- functions

    def Invoke(self, request: Any, context: Any) -> Any:
        """Answer a function's call."""
        function = INVOKES.get(request.tok)
        if function is None:
            _refuse(context, f"the stand-in for the AWS plugin has no function {request.tok}")
            raise AssertionError
        with explained(context, f"invoking {request.tok}"):
            answer = function(self._clients, from_struct(request.args))
        reply = provider_pb2.InvokeResponse()
        getattr(reply, "return").CopyFrom(to_struct(answer))  # a keyword in Python
        return reply


def _kind(urn: str) -> tuple[str, str]:
    """Return type and logical name out of a URN."""
    parts = urn.split("::")
    return parts[2].rpartition("$")[2], parts[-1]


def _spec(kind: str, context: Any) -> Spec:
    spec = types.SPECS.get(kind)
    if spec is None:
        _refuse(context, f"the stand-in for the AWS plugin does not know the type {kind}")
    assert spec is not None
    return spec


def _refuse(context: Any, text: str) -> None:
    context.abort(grpc.StatusCode.UNKNOWN, text)


def _planned(spec: Spec, news: Props) -> Props:
    """Return what a preview knows: the wishes, and a marker for what AWS will decide."""
    unknown = {name: UNKNOWN for name in spec.outputs | spec.computed if name not in news}
    given = {name: value for name, value in news.items() if name != "__defaults"}
    return unknown | given | {"id": UNKNOWN}


def _answer(spec: Spec, props: Props) -> Any:
    marked = {
        name: secret(value) if name in spec.secrets and value is not None else value
        for name, value in props.items()
    }
    return to_struct(marked)
