"""What targets, modalities and things that are not ours are called.

Each tuple has names for training first and, after `HELD_OUT`, names only evaluation uses; `names.txt` has
more for training.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["FOREIGN", "HELD_OUT", "MODALITIES", "TARGETS", "for_evaluation", "for_training", "with_more"]

HELD_OUT = "|"
"""Divides a tuple of names."""


_MORE = {
    key: tuple(names.split("; "))
    for key, names in (
        line.split(": ", 1)
        for line in Path(__file__).with_name("names.txt").read_text(encoding="utf-8").splitlines()
    )
}


def with_more(names: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Names together with those that `names.txt` has for training; the first one stays first."""
    return {
        key: (*for_training(known), *_MORE[key], HELD_OUT, *for_evaluation(known))
        for key, known in names.items()
    }


def for_training(names: tuple[str, ...]) -> tuple[str, ...]:
    """Names before the mark."""
    return names[: names.index(HELD_OUT)]


def for_evaluation(names: tuple[str, ...]) -> tuple[str, ...]:
    """Names after the mark."""
    return names[names.index(HELD_OUT) + 1 :]


_TARGETS: dict[str, tuple[str, ...]] = {
    "cerebral_white_matter": (
        *("cerebral white matter", "white matter of the cerebrum", "white matter", "WM"),
        *("white substance", "the hemispheric white matter", "deep white matter"),
        *("white matter of both hemispheres", "white matter of the left and right hemisphere"),
        *("white matter of the cerebral hemispheres", HELD_OUT),
        *("white matter of the brain's hemispheres",),
    ),
    "cerebral_cortex": (
        *("cerebral cortex", "cortex", "cortical grey matter", "cortical gray matter"),
        *("the cortical ribbon", "neocortex", "grey matter of the cortex", "cortical mantle"),
        *(HELD_OUT, "cortical gray matter ribbon"),
    ),
    "lateral_ventricles": (
        *("lateral ventricles", "lateral ventricle", "the ventricular system's lateral parts"),
        *("both lateral ventricles", "frontal and occipital horns"),
        *("lateral ventricular system", "the paired lateral ventricles", HELD_OUT),
        *("left and right lateral ventricle",),
    ),
    "third_fourth_ventricles": (
        *("third and fourth ventricles", "third ventricle", "fourth ventricle"),
        *("midline ventricles", "3rd and 4th ventricle", "the ventricles in the midline"),
        *("ventricles III and IV", "ventricle III", "fourth and third ventricle", HELD_OUT),
        *("third ventricle and fourth ventricle",),
    ),
    "thalamus": (
        *("thalamus", "thalami", "both thalami", "thalamic nuclei"),
        *("the thalamus on each side", "thalamic region", "the paired thalami", HELD_OUT),
        *("thalamus of both sides",),
    ),
    "caudate": (
        *("caudate", "caudate nucleus", "caudate nuclei", "head and body of the caudate"),
        *("nucleus caudatus", "caudate heads", "both caudate nuclei", HELD_OUT),
        *("caudate nucleus with its head",),
    ),
    "putamen_pallidum": (
        *("putamen and pallidum", "putamen", "globus pallidus", "lentiform nucleus"),
        *("lenticular nucleus", "putamen and globus pallidus", "lentiform nuclei"),
        *("pallidum together with the putamen", HELD_OUT),
        *("lentiform nucleus with putamen and pallidum",),
    ),
    "hippocampus_amygdala": (
        *("hippocampus and amygdala", "hippocampus", "hippocampi", "amygdala"),
        *("hippocampal formation", "mesial temporal structures"),
        *("amygdalo-hippocampal complex", "amygdala and hippocampi", HELD_OUT),
        *("hippocampus together with the amygdala",),
    ),
    "ventral_diencephalon": (
        *("ventral diencephalon", "hypothalamic region", "diencephalon", "subthalamic region"),
        *("ventral DC", "basal diencephalon", "the diencephalon's ventral part", HELD_OUT),
        *("ventral part of the diencephalon",),
    ),
    "cerebellum": (
        *("cerebellum", "cerebellar hemispheres", "cerebellar hemispheres and vermis"),
        *("the cerebellar tissue", "cerebellar cortex and white matter"),
        *("the whole cerebellum with its vermis", HELD_OUT),
        *("cerebellum with vermis and hemispheres",),
    ),
    "brain_stem": (
        *("brain stem", "brainstem", "midbrain, pons and medulla", "pons"),
        *("mesencephalon, pons and medulla oblongata", "medulla oblongata"),
        *("the stem of the brain", "pons and medulla", HELD_OUT),
        *("midbrain with pons and medulla",),
    ),
    "sulcal_csf": (
        *("sulcal CSF", "fluid in the sulci", "sulcal cerebrospinal fluid"),
        *("CSF between the gyri", "fluid within the sulci and fissures"),
        *("cerebrospinal fluid in sulci", HELD_OUT, "CSF in the cortical sulci"),
    ),
    "outer_csf": (
        *("outer CSF", "extra-axial CSF", "subarachnoid fluid around the brain"),
        *("fluid between brain and skull", "fluid outside the brain"),
        *("CSF layer around the brain", "outer cerebrospinal fluid"),
        *("the fluid layer outside the brain", HELD_OUT, "extra-axial fluid around the brain"),
    ),
    "head": (
        *("head outside the brain", "skull and scalp", "extracranial tissue"),
        *("skull, face and scalp", "everything of the head that is not brain"),
        *("bone and soft tissue of the head", "scalp and skull", HELD_OUT),
        *("skull, scalp and face",),
    ),
    "lesion": (
        *("lesion", "lesions", "tumour", "tumor", "enhancing tumour", "white-matter lesions"),
        *("plaques", "mass", "solid tumour part", "MS lesions", "focal lesion", "neoplasm"),
        *("hyperintense lesions", "the enhancing mass", "demyelinating plaques", "tumor mass"),
        *(HELD_OUT, "enhancing lesion", "tumour or plaque"),
    ),
    "necrosis": (
        *("necrosis", "necrotic core", "tumour necrosis", "necrotic cavity"),
        *("cystic or necrotic part", "necrotic tumor core", "the necrotic centre", HELD_OUT),
        *("necrotic tumour centre",),
    ),
    "oedema": (
        *("oedema", "edema", "vasogenic oedema", "peritumoral edema", "perifocal oedema"),
        *("swelling around the tumour", "surrounding edema", "oedema around the mass"),
        *(HELD_OUT, "edema surrounding the tumour"),
    ),
    "csf": (
        *("CSF", "cerebrospinal fluid", "all cerebrospinal fluid outside the ventricles"),
        *("liquor", "the CSF spaces", "every CSF space around the brain", "all CSF spaces"),
        *("fluid spaces around the brain", HELD_OUT, "all CSF around the brain"),
    ),
    "whole_lesion": (
        *("whole lesion", "whole tumour", "entire tumor with oedema", "complete lesion"),
        *("tumour including its edema", "whole extent of the tumour", "complete tumour"),
        *("full lesion with its surroundings", "total tumor volume", "all parts of the tumour"),
        *("lesion with necrosis and oedema", "the full extent of the tumour", "full lesion"),
        *("extent of the whole lesion", HELD_OUT, "whole tumour with its oedema"),
    ),
    "brain": (
        *("brain", "whole brain", "brain mask", "brain parenchyma"),
        *("intracranial brain tissue", "the encephalon", "brain tissue", "entire brain"),
        *("the complete brain", HELD_OUT, "brain as a whole"),
    ),
}
TARGETS = with_more(_TARGETS)
"""Name of a structure of the bundle to how people call it."""

_FOREIGN = (
    *("kidney", "both kidneys", "left kidney", "renal parenchyma", "liver"),
    *("hepatic parenchyma", "spleen", "prostate", "prostate gland", "lung", "left lung"),
    *("lower lobe of the lung", "heart", "cardiac muscle", "myocardium", "aorta"),
    *("pancreas", "pancreatic duct", "urinary bladder", "bladder", "femur", "hip"),
    *("femoral head", "vertebrae", "lumbar vertebra", "intervertebral disc", "stomach"),
    *("colon", "bowel", "small intestine", "rectum", "appendix", "gallbladder"),
    *("bile duct", "adrenal gland", "ureter", "uterus", "ovary", "testis", "breast"),
    *("nipple", "knee cartilage", "meniscus", "patella", "tibia"),
    *("left ventricle of the heart", "right atrium", "mitral valve", "coronary arteries"),
    *("pericardium", "thyroid", "thyroid gland", "larynx", "trachea", "bronchi", "pelvis"),
    *("sacrum", "rib cage", "sternum", "clavicle", "scapula", "humerus", "elbow", "wrist"),
    *("finger", "hand", "foot", "ankle", "toe", "heel", "oesophagus", "pulmonary nodule"),
    *("hepatic lesion", "renal cyst", "portal vein", "inferior vena cava", "lumbar spine"),
    *("spinal cord", "rotator cuff", "achilles tendon", "biceps", "diaphragm", "pneumonia"),
    *("ascites", "rib fracture", "aneurysm of the aorta", "lymph nodes of the neck"),
    *("carotid artery", "tooth", "teeth", "tongue", "parotid gland", "table", "phantom"),
    *("electrode", "catheter", "stent", "cat", "dog", "car", "house", "tree"),
    *("the weather", "a joke", "nothing", "something", "everything", "the image"),
    *("this scan", "the patient's name", "the report", "a poem", "the time", "lunch"),
    *("right kidney", "duodenum", "liver tumour", "left atrium", "hip joint"),
    *("pleural effusion", HELD_OUT, "right lung", "jejunum", "knee joint", "splenic vein"),
    *("urethra", "coccyx"),
)
FOREIGN = with_more({"foreign": _FOREIGN})["foreign"]
"""What no head scan shows, what this bundle does not know, and what is no structure at all."""

MODALITIES: dict[str, tuple[str, ...]] = {
    "T1": (
        *("T1", "T1-weighted MRI", "T1w image", "T1 MPRAGE", "T1-weighted scan"),
        *("native T1 image", "T1 spin echo", "T1 volume", "3D T1", HELD_OUT),
        *("T1 gradient echo",),
    ),
    "T1c": (
        *("T1c", "contrast-enhanced T1", "T1 post-gadolinium", "T1 with contrast"),
        *("post-contrast T1-weighted MRI", "T1 after gadolinium", "T1 after contrast medium"),
        *(HELD_OUT, "gadolinium-enhanced T1"),
    ),
    "T2": (
        *("T2", "T2-weighted MRI", "T2w image", "T2 TSE", "T2-weighted scan"),
        *("T2 turbo spin echo", "T2 spin echo", "axial T2 sequence", HELD_OUT),
        *("T2 fast spin echo",),
    ),
    "FLAIR": (
        *("FLAIR", "FLAIR image", "T2-FLAIR", "fluid-attenuated image", "FLAIR sequence"),
        *("axial FLAIR", "3D FLAIR", HELD_OUT, "FLAIR volume"),
    ),
    "CT": (
        *("CT", "CT scan", "non-contrast CT", "computed tomography", "head CT", "cranial CT"),
        *("axial CT", "CT slices", HELD_OUT, "CT volume"),
    ),
}
"""Modality to how people call it."""
