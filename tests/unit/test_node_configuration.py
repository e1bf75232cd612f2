"""`node.toml`: read back as it was written, and refused with line and reason when wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from nodes.configuration import (
    ConfigurationRefusal,
    ConsensusSection,
    Endpoint,
    load_configuration,
    render_configuration,
)


def written(folder: Path, **changes: str) -> str:
    text = render_configuration(
        name="bank-1",
        msp_id="BankMSP",
        channel_id="qist",
        client=Endpoint(listen="0.0.0.0:7051", address="node.bank.example:7051"),
        node=Endpoint(listen="localhost:7052"),
    )
    for old, new in changes.items():
        text = text.replace(old, new)
    (folder / "node.toml").write_text(text)
    return text


def test_configuration_that_was_rendered_is_read_back_as_it_was_meant(tmp_path: Path) -> None:
    """Every value without a default stands in the file; the rest has Fabric's defaults."""
    written(tmp_path)
    read = load_configuration(tmp_path)
    assert (read.name, read.msp_id, read.channel_id) == ("bank-1", "BankMSP", "qist")
    assert read.client.reachable == "node.bank.example:7051"
    assert read.node.reachable == "localhost:7052"
    assert (read.limits.gateway_concurrency, read.limits.endorser_concurrency) == (500, 2500)
    assert (read.limits.endorsement_timeout_s, read.limits.broadcast_timeout_s) == (10.0, 10.0)


@pytest.mark.parametrize(
    "section",
    [
        ConsensusSection(listen="0.0.0.0:7053"),
        ConsensusSection(listen="[::]:7053", address="node.bank.example:7053", profile="wan"),
        ConsensusSection(listen="0.0.0.0:7053", binary="/opt/with space/cometbft"),
    ],
)
def test_consensus_of_a_node_is_read_back_as_it_was_meant(
    tmp_path: Path, section: ConsensusSection
) -> None:
    """Every value of the section, and none where the node takes no part."""
    written(tmp_path)
    assert load_configuration(tmp_path).consensus is None
    text = render_configuration(
        name="bank-1",
        msp_id="BankMSP",
        channel_id="qist",
        client=Endpoint(listen="0.0.0.0:7051"),
        node=Endpoint(listen="localhost:7052"),
        consensus=section,
    )
    (tmp_path / "node.toml").write_text(text)
    assert load_configuration(tmp_path).consensus == section


@pytest.mark.parametrize(
    ("lines", "where", "reason"),
    [
        ('listen = "0.0.0.0"', "consensus.listen", "is not host:port"),
        ('listen = "h:1"\naddress = "h"', "consensus.address", "is not host:port"),
        ('address = "h:1"', "consensus.listen", "is missing"),
        ('listen = "h:1"\nprofile = "moon"', "consensus.profile", "'local' or 'wan'"),
        ('listen = "h:1"\nlistens = 1', "consensus.listens", "not a name that node.toml knows"),
    ],
)
def test_consensus_section_that_is_wrong_is_refused(
    tmp_path: Path, lines: str, where: str, reason: str
) -> None:
    """By the name of the value, as everywhere in the file."""
    text = written(tmp_path)
    (tmp_path / "node.toml").write_text(f"{text}\n[consensus]\n{lines}\n")
    with pytest.raises(ConfigurationRefusal) as caught:
        load_configuration(tmp_path)
    assert any(f": {where}: " in line and reason in line for line in str(caught.value).split("\n"))


@pytest.mark.parametrize(
    ("old", "new", "where", "reason"),
    [
        ('name = "bank-1"', 'name = "Bank 1"', "name", "match pattern"),
        ('name = "bank-1"', "", "name", "is missing"),
        ("format = 1", "format = 2", "format", "Input should be 1"),
        ('listen = "localhost:7052"', 'listen = "localhost"', "node.listen", "is not host:port"),
        ('listen = "localhost:7052"', 'listen = "localhost:0"', "node.listen", "is not host:port"),
        ('level = "info"', 'level = "loud"', "log.level", "'debug', 'info'"),
        ('level = "info"', 'levle = "info"', "log.levle", "not a name that node.toml knows"),
        (
            "gateway_concurrency = 500",
            "gateway_concurrency = 0",
            "limits.gateway_concurrency",
            "greater than or equal to 1",
        ),
        ("[warn]", "[wran]", "wran", "not a name that node.toml knows"),
    ],
)
def test_configuration_that_is_wrong_is_refused_with_line_name_and_reason(
    tmp_path: Path, old: str, new: str, where: str, reason: str
) -> None:
    """The operator is led to the line."""
    text = written(tmp_path, **{old: new})
    with pytest.raises(ConfigurationRefusal) as caught:
        load_configuration(tmp_path)
    file, line, name, words = str(caught.value).split("\n")[0].split(":", 3)
    assert file == str(tmp_path / "node.toml")
    assert name.strip() == where
    assert reason in words
    if new:
        assert new in text.splitlines()[int(line) - 1]


def test_configuration_with_several_faults_names_all_of_them(tmp_path: Path) -> None:
    """One reading, all faults."""
    written(tmp_path, **{'level = "info"': 'level = "loud"', "format = 1": "format = 7"})
    with pytest.raises(ConfigurationRefusal) as caught:
        load_configuration(tmp_path)
    assert len(str(caught.value).splitlines()) == 2


def test_configuration_that_is_no_toml_or_not_there_is_refused(tmp_path: Path) -> None:
    """With what to do about it."""
    with pytest.raises(ConfigurationRefusal, match="qist node init"):
        load_configuration(tmp_path)
    (tmp_path / "node.toml").write_text("name = \n")
    with pytest.raises(ConfigurationRefusal, match=r"is not TOML: .*line 1"):
        load_configuration(tmp_path)
    (tmp_path / "node.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationRefusal, match="cannot be read"):
        load_configuration(tmp_path)
