"""The lab: a whole local world for the program. Nothing of the product imports it."""

import os

# A server is started as another user, which needs fork() and not vfork(): gRPC's fork handlers then
# run in the child while other threads use gRPC, and end it. Read by gRPC when it is first imported.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
