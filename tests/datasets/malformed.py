"""What the tests of malformed files have in common."""


class Hostile:
    """An object whose pickle runs code when it is loaded by the standard library."""

    def __reduce__(self):
        return print, ("this must never be printed",)


def cut(write, share=0.5):
    """A writer whose file loses its end."""

    def write_half(path):
        write(path)
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])

    return write_half
