"""What a recipe file for `dvt train` holds, and the model and data that come of it and the flags.

Shipped recipes lie in `jobs/recipes/`.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError

from dvt.config import CascadeConfig
from dvt.errors import ConfigError
from dvt.presets import preset, static_relative
from dvt.training import TrainingRecipe
from dvt.validation import first_problem
from jobs.options import Job
from pipeline.errors import UsageError

__all__ = ["RecipeFile", "read_recipe", "shipped_recipes"]

_SHIPPED = Path(__file__).parents[1] / "recipes"


class RecipeFile(Job):
    """A model, its data, and how it is trained on them."""

    preset: Annotated[str | None, Field(description="name of a preset")] = None
    model: Annotated[CascadeConfig | None, Field(description="a configuration of its own")] = None
    data: Annotated[str | None, Field(description="labelled pictures")] = None
    validation_data: Annotated[str | None, Field(description="held out, never trained on")] = None
    validation_images: Annotated[
        int | None, Field(ge=1, description="held out of `data`, where there is no validation_data")
    ] = None
    drop: Annotated[float, Field(ge=0, lt=1, description="for thresholds, of accuracy")] = 0.005
    weights: Literal["float32", "float16"] = "float32"
    training: TrainingRecipe = TrainingRecipe()

    def with_epochs(self, epochs: int | None) -> "RecipeFile":
        """The same over another number of epochs, warmup shortened in proportion."""
        if epochs is None:
            return self
        training = self.training
        changes: dict[str, Any] = {
            "epochs": epochs,
            "warmup_epochs": training.warmup_epochs * min(1.0, epochs / training.epochs),
        }
        return self.model_copy(update={"training": training.model_copy(update=changes)})

    def configuration(
        self,
        static: int | None = None,
        feature_reuse: bool | None = None,
        relation_reuse: bool | None = None,
    ) -> CascadeConfig:
        """The model to train.

        Args:
            static: train the static model of this stage, from 1, instead of the cascade.
            feature_reuse: None for what the recipe says.
            relation_reuse: None for what the recipe says.

        Raises:
            UsageError: the recipe names no model, or two; or there is no such stage.
        """
        if (self.preset is None) == (self.model is None):
            raise UsageError("recipe: must have either preset or model, unless --from is given")
        try:
            config = self.model or preset(self.preset or "")
            given = {"feature_reuse": feature_reuse, "relation_reuse": relation_reuse}
            changes = {name: value for name, value in given.items() if value is not None}
            config = config.with_changes(**changes) if changes else config
            return config if static is None else static_relative(config, static)
        except ConfigError as error:
            raise UsageError(str(error)) from error


def shipped_recipes() -> tuple[str, ...]:
    """Names of the recipes that come with the package."""
    return tuple(sorted(path.stem for path in _SHIPPED.glob("*.yaml")))


def read_recipe(name: str) -> RecipeFile:
    """A recipe file, or a shipped recipe by its name.

    Raises:
        UsageError: there is none, or it is no recipe.
    """
    path = Path(name)
    shipped = _SHIPPED / f"{name}.yaml"
    if not path.is_file() and shipped.is_file():
        path = shipped
    try:
        return RecipeFile.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise UsageError(
            f"recipe: no such file or shipped recipe: {name}; shipped are "
            f"{', '.join(shipped_recipes())}"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"recipe: {path} is not valid YAML") from error
    except ValidationError as error:
        raise UsageError(f"recipe: {path}: {first_problem(error)}") from error
