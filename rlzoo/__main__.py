"""`python -m rlzoo`: the command, for launchers that start modules."""

try:
    from rlzoo.cli.main import run
except KeyboardInterrupt:  # before there is anything to say
    raise SystemExit(130) from None

if __name__ == "__main__":
    raise SystemExit(run())
