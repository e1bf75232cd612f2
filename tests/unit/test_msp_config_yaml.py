"""The part of YAML in which config.yaml of an MSP folder is written."""

from __future__ import annotations

import pytest

from network.certificates.layout import node_units_yaml
from network.errors import ConfigurationError
from network.msp.config_yaml import MAX_BYTES, parse_config_yaml

FABRICS = b"""\
# Copyright
---
OrganizationalUnitIdentifiers:
  - Certificate: "cacerts/cacert.pem"   # which
    OrganizationalUnitIdentifier: "commercial"
  - OrganizationalUnitIdentifier: 'back # office'
    Certificate: cacerts/cacert2.pem

NodeOUs:
  Enable: true
  ClientOUIdentifier:
      Certificate: cacerts/localhost-7054-ca.pem
      OrganizationalUnitIdentifier: client
  PeerOUIdentifier:
    Certificate:
    OrganizationalUnitIdentifier: peer
"""


def test_fabrics_form_is_read_as_yaml_reads_it() -> None:
    """Comments, quotes, lists, deeper and shallower indentation, an absent value."""
    assert parse_config_yaml(FABRICS, "config.yaml") == {
        "OrganizationalUnitIdentifiers": [
            {
                "Certificate": "cacerts/cacert.pem",
                "OrganizationalUnitIdentifier": "commercial",
            },
            {
                "OrganizationalUnitIdentifier": "back # office",
                "Certificate": "cacerts/cacert2.pem",
            },
        ],
        "NodeOUs": {
            "Enable": "true",
            "ClientOUIdentifier": {
                "Certificate": "cacerts/localhost-7054-ca.pem",
                "OrganizationalUnitIdentifier": "client",
            },
            "PeerOUIdentifier": {"Certificate": "", "OrganizationalUnitIdentifier": "peer"},
        },
    }


def test_list_may_stand_as_deep_as_its_name() -> None:
    """YAML allows it, and people write it."""
    raw = b"Units:\n- Name: a\n- Name: b\nOther: c\n"
    assert parse_config_yaml(raw, "f") == {"Units": [{"Name": "a"}, {"Name": "b"}], "Other": "c"}


def test_what_we_write_is_read_back() -> None:
    """All four units with their authority."""
    content = parse_config_yaml(node_units_yaml("cacerts/ca-cert.pem"), "f")
    units = content["NodeOUs"]
    assert isinstance(units, dict)
    assert list(units) == [
        "Enable",
        "ClientOUIdentifier",
        "PeerOUIdentifier",
        "AdminOUIdentifier",
        "OrdererOUIdentifier",
    ]
    assert units["AdminOUIdentifier"] == {
        "Certificate": "cacerts/ca-cert.pem",
        "OrganizationalUnitIdentifier": "admin",
    }


def test_empty_file_says_nothing() -> None:
    """Comments alone are no error."""
    assert parse_config_yaml(b"# nothing\n\n---\n", "f") == {}


@pytest.mark.parametrize(
    ("raw", "line"),
    [
        (b"NodeOUs:\n  Enable: true\n Enable: false\n", "f:3"),
        (b"NodeOUs:\n  Enable: true\n    More: x\n", "f:3"),
        (b"\tNodeOUs: x\n", "f:1"),
        (b"NodeOUs: {Enable: true}\n", "f:1"),
        (b"NodeOUs: &anchor\n", "f:1"),
        (b"NodeOUs: |\n  text\n", "f:1"),
        (b"NodeOUs\n", "f:1"),
        (b"A: x\nA: y\n", "f:2"),
        (b"A:\n  - \n", "f:2"),
        (b"A:\n  - x\n", "f:2"),
        (b"- A: x\n", "f:1"),
        (b'A: "a\\tb"\n', "f:1"),
        (b"A: [x]\n", "f:1"),
        (b"A: !!str x\n", "f:1"),
    ],
)
def test_other_yaml_is_refused_with_its_line(raw, line) -> None:
    """Nothing may be understood otherwise than it was meant."""
    with pytest.raises(ConfigurationError, match=line):
        parse_config_yaml(raw, "f")


@pytest.mark.parametrize("raw", [b"\xff", b"#" * (MAX_BYTES + 1)])
def test_file_that_is_no_text_of_that_size_is_refused(raw) -> None:
    """Not UTF-8, or far too long."""
    with pytest.raises(ConfigurationError):
        parse_config_yaml(raw, "f")
