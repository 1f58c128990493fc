"""`tollkeeper check`."""

import json

import yaml


def test_the_effective_config_is_a_config_and_hides_secrets(call):
    result = call("check")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("# config.yaml: valid. In effect:\n")
    effective = yaml.safe_load(result.stdout)
    assert effective["timezone"] == "Asia/Shanghai"
    assert effective["timeouts"]["connect"] == "10s"
    assert effective["upstreams"]["scripted"]["api_key"] == "***"
    assert "canary" not in result.output
    assert json.loads(call("check", "--json", "-c", "config.yaml").stdout) == effective


def test_warnings_go_to_stderr_and_do_not_fail(call, home):
    config = home / "config.yaml"
    config.write_text(config.read_text() + "limits: [60 requests/minute]\n")
    result = call("check", "--json")
    assert result.exit_code == 0
    assert "Warning: " in result.stderr
    assert "limits" in result.stderr
    assert json.loads(result.stdout)


def test_all_problems_are_named_at_once(call, home):
    config = home / "config.yaml"
    config.write_text(config.read_text().replace("Asia/Shanghai", "Nowhere/Else") + "listne: 127.0.0.1:1\n")
    result = call("check")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "2 problems:" in result.stderr
    assert "listne" in result.stderr
    assert "listen" in result.stderr
    assert "Nowhere/Else" in result.stderr


def test_one_problem_stands_alone_and_no_config_is_one(call, home):
    config = home / "config.yaml"
    config.write_text(config.read_text() + "listne: 127.0.0.1:1\n")
    assert "problems:" not in call("check").stderr
    missing = call("check", "-c", "nowhere.yaml")
    assert missing.exit_code == 1
    assert "nowhere.yaml" in missing.stderr


def test_the_schema_for_editors(call):
    schema = json.loads(call("check", "--schema").stdout)
    assert "upstreams" in json.dumps(schema)
