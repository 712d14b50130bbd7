"""The shapes of what is measured."""


def resnet50(width=1):
    """Returns the shapes of ResNet-50's 161 trainable variables.

    Args:
        width: Divisor of the channels.

    >>> import math
    >>> shapes = resnet50()
    >>> len(shapes), sum(map(math.prod, shapes))
    (161, 25557032)
    """
    before = 64 // width
    shapes = [(7, 7, 3, before), (before,), (before,)]
    for channels, blocks in zip((64, 128, 256, 512), (3, 4, 6, 3)):
        inner, outer = channels // width, 4 * channels // width
        for block in range(blocks):
            kernels = [(1, 1, before, inner), (3, 3, inner, inner)]
            kernels.append((1, 1, inner, outer))
            if block == 0:
                kernels.append((1, 1, before, outer))
            for kernel in kernels:
                # A kernel, and the two variables of its batch normalization.
                shapes += [kernel, kernel[-1:], kernel[-1:]]
            before = outer
    return (*shapes, (before, 1000), (1000,))
