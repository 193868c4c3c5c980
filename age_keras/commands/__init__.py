"""One file a command of `age-keras`; see `age_keras.cli`."""
