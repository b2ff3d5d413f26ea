"""Tiny nnU-Net v2 results folders and predictions, all by nnU-Net's own code; a program of its own.

python -m tests.nnunet_folder CASES OUT SCAN

Its packages warn, start processes and want environment variables before they are imported.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import sys
from multiprocessing.pool import ThreadPool
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

__all__ = ["VARIANTS", "main"]

VARIANTS = ("3d", "2d", "held")
"""A 3-D plain U-Net with axes in another order; one of slices; two folds of a residual one, one axis held."""

_STEPS, _RATE = {"2d": 900, "3d_fullres": 300}, 3e-3
_SMALL = {
    "batch_size": 2,
    "patch_size": [24, 24, 24],
    "features": [8, 12, 16],
    "strides": [[1, 1, 1], [2, 2, 2], [2, 2, 2]],
}


def _plan(raw: Path, cases: list[Path]) -> dict[str, Any]:
    """Fingerprint and plans of a data set in nnU-Net's layout."""
    from nnunetv2.experiment_planning.plan_and_preprocess_api import extract_fingerprints, plan_experiments

    data = raw / "Dataset001_Tiny"
    for name in ("imagesTr", "labelsTr"):
        (data / name).mkdir(parents=True)
    for image in cases:
        key = image.name.removesuffix(".nii.gz")
        shutil.copy(image, data / "imagesTr" / f"{key}_0000.nii.gz")
        shutil.copy(image.parent.parent / "labels" / image.name, data / "labelsTr" / image.name)
    described = {
        "channel_names": {"0": "T1"},
        "labels": {"background": 0, "anterior": 1, "posterior": 2},
        "numTraining": len(cases),
        "file_ending": ".nii.gz",
    }
    (data / "dataset.json").write_text(json.dumps(described))
    extract_fingerprints([1], num_processes=1, check_dataset_integrity=False, verbose=False)
    os.environ["nnUNet_n_proc_DA"] = "1"  # of which planning takes its number of threads
    plan_experiments([1], gpu_memory_target_in_gb=1)
    os.environ["nnUNet_n_proc_DA"] = "0"
    plans: dict[str, Any] = json.loads((_preprocessed() / "nnUNetPlans.json").read_text())
    return plans


def _preprocessed() -> Path:
    return Path(os.environ["nnUNet_preprocessed"]) / "Dataset001_Tiny"


def _changed(plans: dict[str, Any], variant: str) -> tuple[str, dict[str, Any]]:
    """Small networks, and voxel sizes that need resampling; returns the configuration's name, too."""
    name = "2d" if variant == "2d" else "3d_fullres"
    made = json.loads(json.dumps(plans))
    configuration = made["configurations"][name]
    told = configuration["architecture"]["arch_kwargs"]
    sides = 2 if variant == "2d" else 3
    configuration["batch_size"] = _SMALL["batch_size"]
    configuration["patch_size"] = [32, 24] if sides == 2 else list(_SMALL["patch_size"])
    told |= {
        "n_stages": 3,
        "features_per_stage": _SMALL["features"],
        "kernel_sizes": [[3] * sides] * 3,
        "strides": [stride[:sides] for stride in _SMALL["strides"]],
        "n_conv_per_stage": [1, 1, 1],
        "n_conv_per_stage_decoder": [1, 1],
    }
    if variant == "3d":
        made["transpose_forward"], made["transpose_backward"] = [2, 0, 1], [1, 2, 0]
        configuration["spacing"] = [1.3, 0.8, 1.1]
    elif variant == "2d":
        configuration["spacing"] = [0.9, 1.2]
    else:
        configuration["spacing"], configuration["patch_size"] = [3.5, 1.0, 0.9], [12, 24, 24]
        told["strides"] = [[1, 1, 1], [1, 2, 2], [2, 2, 2]]
        configuration["normalization_schemes"] = ["CTNormalization"]
        configuration["architecture"]["network_class_name"] = (
            "dynamic_network_architectures.architectures.unet.ResidualEncoderUNet"
        )
        told["n_blocks_per_stage"] = told.pop("n_conv_per_stage")
    return name, made


def _train(plans: dict[str, Any], configuration: str, folds: int) -> Path:
    """Preprocess, train some steps, and save what nnU-Net saves."""
    import torch
    from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    (_preprocessed() / "nnUNetPlans.json").write_text(json.dumps(plans))
    shutil.rmtree(
        _preprocessed() / plans["configurations"][configuration]["data_identifier"], ignore_errors=True
    )
    DefaultPreprocessor(verbose=False).run(1, configuration, "nnUNetPlans", num_processes=1)
    raw = Path(os.environ["nnUNet_raw"]) / "Dataset001_Tiny"
    dataset = json.loads((raw / "dataset.json").read_text())
    shutil.copy(raw / "dataset.json", _preprocessed())
    (_preprocessed() / "gt_segmentations").mkdir(exist_ok=True)
    for fold in range(folds):
        torch.manual_seed(fold)
        np.random.seed(fold)  # noqa: NPY002  # nnU-Net draws from it
        planned = {**plans, "continue_training": False}
        trainer = nnUNetTrainer(planned, configuration, fold, dataset, device=torch.device("cpu"))
        trainer.do_split = lambda: (sorted(_keys()), sorted(_keys()))  # type: ignore[method-assign]
        trainer.initialize()
        trainer.on_train_start()
        # nnU-Net's own optimiser wants more steps than a test has before anything but background is found.
        trainer.optimizer = torch.optim.Adam(trainer.network.parameters(), _RATE)
        trainer.on_train_epoch_start()
        for _ in range(_STEPS[configuration]):
            trainer.train_step(next(trainer.dataloader_train))
        trainer.save_checkpoint(str(Path(trainer.output_folder) / "checkpoint_final.pth"))
    return Path(trainer.output_folder).parent


def _keys() -> list[str]:
    images = Path(os.environ["nnUNet_raw"]) / "Dataset001_Tiny" / "labelsTr"
    return [path.name.removesuffix(".nii.gz") for path in images.iterdir()]


def _predict(folder: Path, scan: Path, out: Path) -> None:
    """What nnU-Net's own predictor makes of a scan, as its own writer writes it."""
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    predictor = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(str(folder), None)
    predictor.predict_from_files_sequential([[str(scan)]], [str(out)], save_probabilities=False)


def main(arguments: list[str]) -> None:
    """Make every variant: OUT/VARIANT/results… and OUT/VARIANT/labels.nii.gz."""
    cases, out, scan = (Path(argument) for argument in arguments)
    for name in ("raw", "preprocessed", "results"):
        (out / name).mkdir(parents=True)
        os.environ[f"nnUNet_{name}"] = str(out / name)
    os.environ |= {"nnUNet_n_proc_DA": "0", "nnUNet_def_n_proc": "1", "nnUNet_compile": "false"}
    threads = SimpleNamespace(Pool=ThreadPool, Manager=multiprocessing.Manager)
    multiprocessing.get_context = lambda method=None: threads  # type: ignore[assignment]
    plans = _plan(out / "raw", sorted(cases.glob("*.nii.gz"))[:4])
    for variant in VARIANTS:
        configuration, changed = _changed(plans, variant)
        trained = _train(changed, configuration, 2 if variant == "held" else 1)
        (out / variant).mkdir()
        trained.rename(out / variant / "results")
        _predict(out / variant / "results", scan, out / variant / "labels")


if __name__ == "__main__":
    main(sys.argv[1:])
