"""Two hosts on loopback train what one trains."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from multi_host_script import build, data

from age_keras.errors import InputError
from age_keras.training.devices import share
from age_keras.training.multi_host import train_on_hosts
from tuning.supervisor import free_port

SCRIPT = Path(__file__).with_name("multi_host_script.py")


@pytest.mark.slow
def test_two_hosts_equal_one(tmp_path):
    hosts = [f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"]
    environment = os.environ | share(0, 2, []) | {"PYTHONPATH": str(SCRIPT.parents[2]), "CUDA_VISIBLE_DEVICES": "-1"}
    team = [
        subprocess.Popen([sys.executable, str(SCRIPT), str(i), str(tmp_path / f"{i}.npz"), *hosts], env=environment)
        for i in range(2)
    ]
    try:
        assert [process.wait(timeout=240) for process in team] == [0, 0]
    finally:
        for process in team:
            process.kill()
    one = train_on_hosts(build, *data(), ["127.0.0.1:1"], 0, epochs=3, batch_size=8).get_weights()
    for host in range(2):
        with np.load(tmp_path / f"{host}.npz") as file:
            for expected, name in zip(one, file.files, strict=True):
                np.testing.assert_allclose(file[name], expected, rtol=1e-4, atol=1e-5)


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="cannot be shared by 2 hosts"):
        train_on_hosts(build, *data(), ["a:1", "b:1"], 0, epochs=1, batch_size=7)
    with pytest.raises(InputError, match="do not fill a batch"):
        train_on_hosts(build, *data(), ["a:1"], 0, epochs=1, batch_size=64)
