"""An experiment on several logical devices of this machine's processor: `mirrored_script.py DEVICES FLAG...`."""

import sys

import tensorflow as tf

if __name__ == "__main__":
    devices = [tf.config.LogicalDeviceConfiguration()] * int(sys.argv[1])
    tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], devices)
    assert tf.distribute.MirroredStrategy().num_replicas_in_sync == len(devices)

    from age_keras.cli import run_experiment
    from experiments.baseline_cnn import experiment, get_config

    sys.exit(run_experiment(get_config, experiment, sys.argv[2:]))
