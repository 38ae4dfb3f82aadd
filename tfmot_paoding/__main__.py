"""`python -m tfmot_paoding` is the command `tfmot-paoding`."""

from tfmot_paoding.command.main import main

if __name__ == '__main__':
  main()
