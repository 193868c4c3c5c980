"""A host of `test_multi_host`: `multi_host_script.py INDEX OUTPUT HOST...`.

With LOGICAL_DEVICES=N in the environment it has N devices, as a host has GPUs.
"""

import os
import sys

import keras
import numpy as np
import tensorflow as tf

from age_keras.training.distributed.multi_host import train_on_hosts


def build():
    model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(4, "relu")])
    model.add(keras.layers.Dense(1))
    return model, keras.optimizers.Adam(0.01), keras.losses.MeanSquaredError(reduction="none")


def data():
    rng = np.random.default_rng(0)
    patches = rng.random((40, 8, 8, 1), np.float32)
    return patches, 40 * patches.mean(axis=(1, 2)).astype(np.float32)


if __name__ == "__main__":
    index, output, *hosts = sys.argv[1:]
    strategy = None
    if number := int(os.environ.get("LOGICAL_DEVICES", 0)):
        devices = [tf.config.LogicalDeviceConfiguration()] * number
        tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], devices)
        strategy = tf.distribute.MirroredStrategy([f"CPU:{place}" for place in range(number)])
    trained = train_on_hosts(build, *data(), hosts, int(index), epochs=3, batch_size=8, strategy=strategy)
    np.savez(output, *[np.asarray(v) for v in trained.get_weights()])
