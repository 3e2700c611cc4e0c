"""Prints a table of what the images in a cluster add to their base.

k8s/images sizes
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys

_OWN = """
import json, os, sys
total = lambda *roots: sum(
    os.lstat(os.path.join(folder, name)).st_size
    for root in roots for folder, _, names in os.walk(root) for name in names
)
print(json.dumps({"packages": total("/opt/venv"), "code": total("/opt/reprise", "/srv/reprise")}))
"""


def kubectl(*arguments: str) -> str:
    """Return the output of kubectl; exits with its error message if it fails."""
    done = subprocess.run(["kubectl", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"kubectl {' '.join(arguments[:3])}: {done.stderr.strip()}")
    return done.stdout


def measure(namespace: str, image: str) -> dict[str, int]:
    """Return the bytes of the libraries and of our own code in an image, read by a pod."""
    name = f"sizes-{image.split(':', maxsplit=1)[0]}"
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [
                {
                    "name": "sizes",
                    "image": image,
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["python3", "-c", _OWN],
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "readOnlyRootFilesystem": True,
                        "capabilities": {"drop": ["ALL"]},
                    },
                }
            ],
        },
    }
    subprocess.run(
        ["kubectl", "-n", namespace, "apply", "-f", "-"],
        input=json.dumps(pod),
        text=True,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    try:
        kubectl(
            "-n",
            namespace,
            "wait",
            f"pod/{name}",
            "--for=jsonpath={.status.phase}=Succeeded",
            "--timeout=120s",
        )
        found: dict[str, int] = json.loads(kubectl("-n", namespace, "logs", name))
    finally:
        kubectl("-n", namespace, "delete", "pod", name, "--wait=false", "--ignore-not-found")
    return found


def main() -> None:
    """Print the table, in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tag", default="dev", help="tag of the images")
    parser.add_argument("--namespace", default="default", help="where the measuring pods run")
    parser.add_argument("components", nargs="+", help="such as predictor")
    options = parser.parse_args()
    print("| image | packages, MB | own code, MB | own layers, MB |")
    print("| --- | ---: | ---: | ---: |")
    for component in options.components:
        image = f"reprise-{component}:{options.tag}"
        found = measure(options.namespace, image)
        packages, code = found["packages"] / 1e6, found["code"] / 1e6
        print(f"| `reprise-{component}` | {packages:.1f} | {code:.2f} | {packages + code:.1f} |", flush=True)


if __name__ == "__main__":
    main()
