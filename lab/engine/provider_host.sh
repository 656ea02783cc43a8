#!/bin/sh
# Runs the SDK's host of dynamic providers with the project's virtual environment.
#
# The engine starts this as pulumi-resource-pulumi-python in the program's folder, with the options
# of Pulumi.yaml in PULUMI_RUNTIME_*. A relative virtualenv is the project's, so it is looked for
# beside Pulumi.yaml, as the language host does, and not in the program's own folder.
venv=${PULUMI_RUNTIME_VIRTUALENV:-}
if [ -z "$venv" ]; then
    exec "${PULUMI_PYTHON_CMD:-python3}" -u -m pulumi.dynamic "$@"
fi
case $venv in
    /*) ;;
    *)
        root=$PWD
        while [ -n "$root" ] && [ ! -e "$root/Pulumi.yaml" ]; do root=${root%/*}; done
        venv=${root:-$PWD}/$venv
        ;;
esac
if [ ! -x "$venv/bin/python" ]; then
    echo "virtualenv $venv, named in Pulumi.yaml, has no bin/python; make it, or correct the name" >&2
    exit 1
fi
exec "$venv/bin/python" -u -m pulumi.dynamic "$@"
