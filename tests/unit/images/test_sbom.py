import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_each_image_has_its_packages_with_version_and_hashes(tmp_path: Path) -> None:
    subprocess.run([sys.executable, ROOT / ".ci/sbom", tmp_path, "predictor", "trainer"], check=True)
    names = {}
    for image in ("predictor", "trainer"):
        content = json.loads((tmp_path / f"{image}.cdx.json").read_text())
        assert (content["bomFormat"], content["specVersion"]) == ("CycloneDX", "1.6")
        assert content["metadata"]["component"]["name"] == f"reprise-{image}"
        names[image] = {each["name"] for each in content["components"]}
        lock = (ROOT / "requirements.txt").read_text()
        for each in content["components"]:
            assert f"{each['name']}=={each['version']}" in lock.lower().replace("_", "-")
            assert all(one["content"] in lock for one in each["externalReferences"][0]["hashes"])
    assert {"onnxruntime", "cryptography", "fastapi", "aiobotocore", "cffi"} <= names["predictor"]
    assert "scikit-learn" in names["trainer"] - names["predictor"]
