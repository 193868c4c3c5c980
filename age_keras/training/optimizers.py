"""Optimizers by name, with the learning rate of a layer falling with its distance from the head, and gradient norms."""

import keras
from keras import ops

from age_keras.config.age import PhaseConfig


def build_optimizer(phase: PhaseConfig, rates: dict | None = None, track: bool = True) -> keras.optimizers.Optimizer:
    """The optimizer of a phase.

    Args:
        phase: Its name, learning rate, weight decay and clipping.
        rates: Factor on the learning rate by the `id` of a variable, from `layer_rates`: a number, or a tensor that
            broadcasts to the variable. Defaults to 1 for all.
        track: Keep the global norm of the last gradient, before clipping, in the attribute `gradient_norm`. Off under
            `tf.distribute`, where a replica may not write it. Defaults to `True`.
    """
    clipping = {"global_clipnorm": phase.clip_norm} if phase.clip_norm else {}
    if phase.optimizer == "sgd":
        optimizer = _tracked(keras.optimizers.SGD)(phase.learning_rate, momentum=0.9, nesterov=True, **clipping)
    elif phase.optimizer == "adamw":
        optimizer = _tracked(keras.optimizers.AdamW)(phase.learning_rate, weight_decay=phase.weight_decay, **clipping)
    else:
        optimizer = _tracked(keras.optimizers.Adam)(phase.learning_rate, **clipping)
    optimizer.rates_by_id, optimizer.track = rates or {}, track
    return optimizer


def layer_rates(layers: list[keras.layers.Layer], ends: tuple[str, ...], decay: float) -> dict[int, float]:
    """Learning-rate factors by the `id` of a variable: `decay` to the power of its block's distance from the head.

    Args:
        layers: The backbone's, input first.
        ends: Names of the layers that end a block.
        decay: The factor for each block.
    """
    if decay == 1:
        return {}
    rates, distance = {}, 0
    for layer in reversed(layers):
        if layer.name in ends:
            distance += 1
        for variable in layer.variables:
            rates[id(variable)] = decay**distance
    return rates


def _tracked(base: type[keras.optimizers.Optimizer]) -> type[keras.optimizers.Optimizer]:
    class Tracked(base):
        def build(self, variables):
            super().build(variables)
            self.rates = [self.rates_by_id.get(id(variable), 1.0) for variable in variables]
            if self.track:
                self.gradient_norm = self.add_variable((), name="gradient_norm")

        def apply(self, grads, trainable_variables=None):
            grads = list(grads)
            squares = [ops.sum(ops.square(ops.cast(g, "float32"))) for g in grads if g is not None]
            if not self.built and trainable_variables is not None:
                with keras.name_scope(self.name, caller=self):
                    self.build(list(trainable_variables))
            if self.track:
                self.gradient_norm.assign(ops.sqrt(sum(squares)))
            return super().apply(grads, trainable_variables)

        def update_step(self, gradient, variable, learning_rate):
            # Under `tf.distribute` this is a replica's part of the variable: Keras knows which one's.
            rate = self.rates[self._get_variable_index(variable)]
            return super().update_step(gradient, variable, learning_rate * rate)

    Tracked.__name__ = base.__name__
    return Tracked
