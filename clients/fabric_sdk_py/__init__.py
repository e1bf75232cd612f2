"""The entry points that users of ``fabric-sdk-py`` (``hfc``) know, upon our gateway SDK.

``from hfc.fabric import Client`` becomes ``from qist import FabricClient as Client``; network
profile, names, parameters and the shape of decoded blocks stay. docs/howto/use-the-sdk.md says what
differs: above all an error is raised, never returned as a text in the place of a result.

Absent: installing and instantiating contracts, creating and joining channels, Fabric CA,
discovery. Those are ``qist`` commands and the node's affair.
"""
