"""`dg recipes [NAME] [key=value ...]`: published experiments that can be run here, and how near our runs come."""

import sys

from dg.compare.settings import RecipesOptions
from dg.settings.command import Command
from dg.settings.errors import DATA
from dg.settings.reader import read

COMMAND = Command(
    name="recipes",
    about="""List published experiments that can be run here, with their numbers and ours.

A recipe holds the settings of one row of a paper's table. `dg train recipe=NAME` runs it; settings beside it hold in
place of the recipe's, and recipe.PLACE=... says where its data lie. `dg recipes NAME` shows one in full.""",
    settings=RecipesOptions,
    usage="[NAME] [key=value ...]",
    codes=(DATA,),
    examples=("dg recipes", "dg recipes poseaug_table4", "dg recipes poseaug_table2_poseaug selection=oracle"),
)


@COMMAND.main
def main(args: list[str]) -> int:
    """Print the recipes; returns the exit code."""
    options = read(RecipesOptions, args, positional="name")
    # After the help, which needs none of it.
    from dg.compare.recipe_listing import listing

    print(listing(options), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
