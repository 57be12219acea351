"""Claims as other programs see them: the schema in Specs/, JUnit XML, SARIF, and the shell of the CI examples."""

import json
import os
import re
import shutil
import subprocess
from importlib import resources
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import safetensors.numpy
from lxml import etree
from pydantic_sarif.model import StaticAnalysisResultsFormatSarifVersion210JsonSchema as SarifLog
from ruamel.yaml import YAML

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
INGOT = os.path.abspath(os.environ.get("INGOT", ROOT / ".build/release/ingot"))
SCHEMA = json.loads((ROOT / "Specs/claims.schema.json").read_text())
ACTION = ROOT / ".github/actions/verify/action.yml"
BAD = json.loads((ROOT / "Tests/InspectionTests/bad-claims.json").read_text())
HARM = "x.::error::y\n]]><&\"'\x1b[31m\x07|`\ufffe.weight"


def validator():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    return jsonschema.Draft202012Validator(SCHEMA)


def examples():
    """Every JSON block of Specs/claims.md; single claims become files."""
    blocks = re.findall(r"```json\n(.*?)```", (ROOT / "Specs/claims.md").read_text(), re.S)
    for block in map(json.loads, blocks):
        yield block if "claims" in block else {"schema": "ingot.claims", "version": 1, "claims": [block]}


def run(*arguments, code=0, **options):
    done = subprocess.run([INGOT, *map(str, arguments)], capture_output=True, text=True, timeout=600, **options)
    assert done.returncode == code, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A source whose names mean harm, and what was made of it."""
    folder = tmp_path_factory.mktemp("claims")
    random = np.random.default_rng(3)
    tensors = {
        "a.q_proj.weight": random.normal(0, 0.02, (64, 96)).astype(np.float16),
        "a.norm.weight": np.ones(16, np.float32),
        HARM: random.normal(0, 0.5, (32, 64)).astype(np.float16),
    }
    (folder / "source").mkdir()
    safetensors.numpy.save_file(tensors, folder / "source/model.safetensors")
    report = run("convert", folder / "source", folder / "sealed", "--format", "json")
    (folder / "conversion.json").write_text(report)
    return folder


def claims(path, *entries):
    path.write_text(json.dumps({"schema": "ingot.claims", "version": 1, "claims": entries}))
    return path


@pytest.fixture
def failing(place, tmp_path):
    """Claims of which some fail, some warn, some are skipped."""
    return claims(
        tmp_path / "claims.json",
        {"claim": "max_relative_mse", "limit": 1e-9},
        {"claim": "max_error", "limit": 1e-9, "level": "warn", "note": HARM},
        {"claim": "max_peak_memory", "limit": "1GiB"},
        {"claim": "min_reduction", "limit": -5},
        {"claim": "max_bits_per_weight", "tensors": ["a.*", "none*"], "limit": 64},
    )


# --- The schema ------------------------------------------------------------------------------------------------------


def test_examples_validate():
    found = list(examples())
    for example in found:
        validator().validate(example)
    names = {claim["claim"] for example in found for claim in example["claims"]}
    assert names == set(SCHEMA["$defs"]["claim"]["properties"]["claim"]["enum"])


def test_examples_are_read(place, tmp_path):
    """Every example of the document is a file that ingot reads; whether it holds is another matter."""
    for number, example in enumerate(examples()):
        path = tmp_path / f"{number}.json"
        path.write_text(json.dumps(example))
        done = subprocess.run([INGOT, "verify", place / "sealed", "--claims", path], capture_output=True, text=True)
        assert done.returncode in (0, 1), done.stderr


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad["name"])
def test_schema_refuses(bad):
    if not bad["schema"]:
        pytest.skip("beyond what a schema can say")
    assert not validator().is_valid(json.loads(bad["text"])), bad["name"]


def test_baseline_validates(place, tmp_path):
    path = tmp_path / "claims.json"
    options = ("--against", place / "source", "--claims", path, "--conversion-report", place / "conversion.json")
    run("verify", place / "sealed", *options, "--update-baseline")
    validator().validate(json.loads(path.read_text()))
    run("verify", place / "sealed", *options)
    for limit in ("1", 7, 7.0, "18GiB", "5gb", "900B", "0012"):
        validator().validate({"schema": "ingot.claims", "version": 1, "claims": [{"claim": "max_file_bytes", "limit": limit}]})


# --- Reports -----------------------------------------------------------------------------------------------------------


def junit(text):
    document = etree.fromstring(text.encode())
    etree.XMLSchema(etree.parse(HERE / "junit.xsd")).assertValid(document)
    suite = document[0]
    for name, tag in (("tests", "testcase"), ("failures", "failure"), ("skipped", "skipped")):
        assert int(suite.get(name)) == len(list(suite.iter(tag))), name
    return suite


def test_junit(place, failing):
    suite = junit(run("verify", place / "sealed", "--claims", failing, "--format", "junit", code=1))
    assert [int(suite.get(name)) for name in ("tests", "failures", "errors", "skipped")] == [8, 2, 0, 3]
    assert "WARN max_error" in suite.find("system-out").text
    # Without claims what is always checked is the report.
    suite = junit(run("verify", place / "sealed", "--against", place / "source", "--format", "junit"))
    assert [case.get("name") for case in suite.iter("testcase")] == ["bytes_intact", "certificates_hold", "source_matches"]


def test_sarif(place, failing):
    log = json.loads(run("verify", place / "sealed", "--claims", failing, "--format", "sarif", code=1))
    SarifLog.model_validate(log)
    results = log["runs"][0]["results"]
    assert [result["level"] for result in results] == ["error", "error", "warning"]
    assert results[2]["locations"][0]["logicalLocations"][0]["fullyQualifiedName"] == HARM
    wrong = json.loads(json.dumps(log))
    wrong["runs"][0]["results"][0]["level"] = "fatal"
    with pytest.raises(ValueError):
        SarifLog.model_validate(wrong)
    SarifLog.model_validate(json.loads(run("verify", place / "sealed", "--format", "sarif")))


def test_damage_in_every_format(place, tmp_path):
    shutil.copytree(place / "sealed", tmp_path / "sealed")
    path = tmp_path / "sealed/model.safetensors"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    arguments = ("verify", tmp_path / "sealed", "--format")
    assert junit(run(*arguments, "junit", code=65)).find("testcase").get("name") == "bytes_intact"
    assert run(*arguments, "github", code=65).startswith("::error title=")
    SarifLog.model_validate(json.loads(run(*arguments, "sarif", code=65)))
    assert "**FAIL**" in run(*arguments, "markdown", code=65)
    assert run(*arguments, "text", code=65) == ""
    report = json.loads(run(*arguments, "json", code=65))
    assert (report["verdict"], report["intact"], len(report["failures"])) == ("FAIL", False, 1)
    assert run(*arguments, "csv", code=65).startswith("tensor,")
    assert '"verdict": "FAIL"' in run(*arguments, "html", code=65)


# --- Continuous integration --------------------------------------------------------------------------------------------


def vendor_schema(name):
    text = resources.files("check_jsonschema").joinpath(f"builtin_schemas/vendor/{name}.json").read_text()
    schema = json.loads(text)
    return jsonschema.validators.validator_for(schema)(schema)


def yaml(text):
    return json.loads(json.dumps(YAML(typ="safe", pure=True).load(text)))


def blocks():
    return [yaml(text) for text in re.findall(r"```yaml\n(.*?)```", (ROOT / "Specs/ci.md").read_text(), re.S)]


def on_path(folder):
    """An environment in which the command is `ingot`."""
    (folder / "bin").mkdir(exist_ok=True)
    link = folder / "bin/ingot"
    if not link.exists():
        link.symlink_to(INGOT)
    return {"PATH": f"{folder / 'bin'}:/usr/bin:/bin", "LANG": "C.UTF-8"}


def step(folder, inputs):
    """Runs the action's step as the runner does: inputs put into its environment, files for output and summary."""
    action = yaml(ACTION.read_text())
    entry = action["runs"]["steps"][0]
    values = {name: inputs.get(name, about.get("default")) for name, about in action["inputs"].items()}
    assert all(value is not None for value in values.values()), "an input that is required"
    environment = on_path(folder)
    for name, text in entry["env"].items():
        environment[name] = re.sub(r"\$\{\{ inputs\.([a-z-]+) \}\}", lambda found: values[found[1]], text)
    (folder / "output").write_text("")
    (folder / "summary").write_text("### before\n")
    environment |= {
        "GITHUB_ACTION_PATH": str(ACTION.parent),
        "GITHUB_OUTPUT": str(folder / "output"),
        "GITHUB_STEP_SUMMARY": str(folder / "summary"),
    }
    script = folder / "step.sh"
    script.write_text(entry["run"])
    # `shell: bash` is this line.
    shell = ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", script]
    done = subprocess.run(shell, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)
    outputs = dict(line.split("=", 1) for line in (folder / "output").read_text().splitlines())
    return done, outputs, (folder / "summary").read_text()


def test_ci_files_validate():
    vendor_schema("github-actions").validate(yaml(ACTION.read_text()))
    workflow, gitlab = blocks()
    vendor_schema("github-workflows").validate({"on": "push"} | workflow)
    vendor_schema("gitlab-ci").validate(gitlab)
    used = workflow["jobs"]["claims"]["steps"][2]
    assert ROOT / used["uses"] / "action.yml" == ACTION and set(used["with"]) <= set(yaml(ACTION.read_text())["inputs"])


def test_action_passes(place, tmp_path):
    path = claims(tmp_path / "claims.json", {"claim": "max_total_bytes", "limit": "1GB"}, {"claim": "max_peak_memory", "limit": "1GB"})
    inputs = {
        "checkpoint": str(place / "sealed"),
        "claims": str(path),
        "source": str(place / "source"),
        "conversion-report": str(place / "conversion.json"),
    }
    done, outputs, summary = step(tmp_path, inputs)
    assert done.returncode == 0, done.stderr
    assert outputs == {"status": "0", "report": "ingot-claims.xml"}
    assert junit((tmp_path / "ingot-claims.xml").read_text()).get("failures") == "0"
    assert "::" not in done.stdout and summary.startswith("### before\n### ingot: ") and "holds what it claims" in summary


def test_action_fails(place, tmp_path, failing):
    done, outputs, summary = step(
        tmp_path, {"checkpoint": str(place / "sealed"), "claims": str(failing), "report": "results.xml"})
    assert done.returncode == 1 and outputs == {"status": "1", "report": "results.xml"}
    assert junit((tmp_path / "results.xml").read_text()).get("failures") == "2"
    commands = [line for line in done.stdout.splitlines() if line.lstrip().startswith("::")]
    assert [line.split(" ")[0] for line in commands] == ["::error", "::error", "::warning"]
    assert "**FAIL**" in summary and "\x1b" not in summary + done.stdout


def test_action_says_what_is_wrong(place, tmp_path):
    done, outputs, _ = step(tmp_path, {"checkpoint": str(place / "sealed"), "claims": "missing.json"})
    assert done.returncode == 66 and outputs["status"] == "66" and "missing.json" in done.stderr


@pytest.mark.parametrize("limit, code", [("1GB", 0), (1, 1)])
def test_gitlab(place, tmp_path, limit, code):
    job = blocks()[1]["claims"]
    shutil.copytree(place / "source", tmp_path / "source")
    claims(tmp_path / "claims.json", {"claim": "max_file_bytes", "limit": limit})
    script = "set -eo pipefail\n" + "\n".join(job["script"])
    environment = on_path(tmp_path) | job["variables"]
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    for name in job["artifacts"]["paths"]:
        assert (tmp_path / name).exists()
    assert junit((tmp_path / job["artifacts"]["reports"]["junit"]).read_text()).get("failures") == str(code)
