"""A stand-in for the official AWS plugin, `pulumi-resource-aws`, over boto3.

It has the official plugin's tokens, ids, defaults and replacement rules, as recorded from its main
parts, for the resource types that the program declares, and refuses others by name. It is not the
official plugin: what it proves is the program, not that plugin.
"""
