"""Recipe files of `dvt train`; `jobs/recipes/` holds the shipped ones."""

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError

from dvt.config import CascadeConfig
from dvt.errors import ConfigError
from dvt.presets import preset, static_relative
from dvt.training import TrainingRecipe
from dvt.training.distillation import DistillationRecipe
from dvt.validation import FrozenModel, first_problem
from pipeline.errors import UsageError

__all__ = ["RecipeFile", "read_recipe", "shipped_recipes"]

_SHIPPED = Path(__file__).parents[1] / "recipes"


class RecipeFile(FrozenModel):
    """A model, its data, and its training."""

    preset: Annotated[str | None, Field(description="name of a preset")] = None
    model: Annotated[CascadeConfig | None, Field(description="a whole configuration")] = None
    data: Annotated[str | None, Field(description="labelled images")] = None
    validation_data: Annotated[str | None, Field(description="validation images")] = None
    validation_images: Annotated[
        int | None, Field(ge=1, description="images held out of `data` without validation_data")
    ] = None
    drop: Annotated[float, Field(ge=0, lt=1, description="accuracy that thresholds may lose")] = (
        0.005
    )
    weights: Literal["float32", "float16"] = "float32"
    training: TrainingRecipe = TrainingRecipe()
    distillation: Annotated[
        DistillationRecipe | None,
        Field(description="adapters of other networks, instead of preset, model and training"),
    ] = None

    def with_epochs(self, epochs: int | None) -> "RecipeFile":
        """A copy with another number of epochs and a proportional warmup; None changes nothing."""
        if epochs is None:
            return self
        if self.distillation is not None:
            distillation = self.distillation.model_copy(update={"epochs": epochs})
            return self.model_copy(update={"distillation": distillation})
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
            static: stage, from 1, to train as a static model; None for the cascade.
            feature_reuse: None for the recipe's value.
            relation_reuse: None for the recipe's value.

        Raises:
            UsageError: the recipe names no model or two, or the stage does not exist.
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
    """Names of the shipped recipes."""
    return tuple(sorted(path.stem for path in _SHIPPED.glob("*.yaml")))


def read_recipe(name: str) -> RecipeFile:
    """Reads a recipe file, or a shipped recipe by name.

    Raises:
        UsageError: the file is missing or not a recipe.
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
