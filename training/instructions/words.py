"""What targets, modalities and things that are not ours are called.

Each tuple has names for training first and, after `HELD_OUT`, names only evaluation uses.
"""

from __future__ import annotations

__all__ = ["FOREIGN", "HELD_OUT", "MODALITIES", "SYLLABLES", "TARGETS", "for_evaluation", "for_training"]

HELD_OUT = "|"
"""Divides a tuple of names."""

TARGETS: dict[str, tuple[str, ...]] = {
    "cerebral_white_matter": (
        *("cerebral white matter", "white matter of the cerebrum", "white matter", "WM", "white substance"),
        *("the hemispheric white matter", "deep white matter", HELD_OUT, "white matter of both hemispheres"),
    ),
    "cerebral_cortex": (
        *("cerebral cortex", "cortex", "cortical grey matter", "cortical gray matter", "the cortical ribbon"),
        *("neocortex", "grey matter of the cortex", HELD_OUT, "cortical mantle"),
    ),
    "lateral_ventricles": (
        *(
            "lateral ventricles",
            "lateral ventricle",
            "the ventricular system's lateral parts",
            "both lateral ventricles",
        ),
        *(
            "frontal and occipital horns",
            "lateral ventricular system",
            HELD_OUT,
            "the paired lateral ventricles",
        ),
    ),
    "third_fourth_ventricles": (
        *("third and fourth ventricles", "third ventricle", "fourth ventricle", "midline ventricles"),
        *("3rd and 4th ventricle", "the ventricles in the midline", HELD_OUT, "ventricles III and IV"),
    ),
    "thalamus": (
        *("thalamus", "thalami", "both thalami", "thalamic nuclei", "the thalamus on each side"),
        *("thalamic region", HELD_OUT, "the paired thalami"),
    ),
    "caudate": (
        *("caudate", "caudate nucleus", "caudate nuclei", "head and body of the caudate", "nucleus caudatus"),
        *("caudate heads", HELD_OUT, "both caudate nuclei"),
    ),
    "putamen_pallidum": (
        *("putamen and pallidum", "putamen", "globus pallidus", "lentiform nucleus", "lenticular nucleus"),
        *("putamen and globus pallidus", "lentiform nuclei", HELD_OUT, "pallidum together with the putamen"),
    ),
    "hippocampus_amygdala": (
        *("hippocampus and amygdala", "hippocampus", "hippocampi", "amygdala", "hippocampal formation"),
        *("mesial temporal structures", "amygdalo-hippocampal complex", HELD_OUT, "amygdala and hippocampi"),
    ),
    "ventral_diencephalon": (
        *("ventral diencephalon", "hypothalamic region", "diencephalon", "subthalamic region", "ventral DC"),
        *("basal diencephalon", HELD_OUT, "the diencephalon's ventral part"),
    ),
    "cerebellum": (
        *(
            "cerebellum",
            "cerebellar hemispheres",
            "cerebellar hemispheres and vermis",
            "the cerebellar tissue",
        ),
        *("cerebellar cortex and white matter", HELD_OUT, "the whole cerebellum with its vermis"),
    ),
    "brain_stem": (
        *(
            "brain stem",
            "brainstem",
            "midbrain, pons and medulla",
            "pons",
            "mesencephalon, pons and medulla oblongata",
        ),
        *("medulla oblongata", "the stem of the brain", HELD_OUT, "pons and medulla"),
    ),
    "sulcal_csf": (
        *("sulcal CSF", "fluid in the sulci", "sulcal cerebrospinal fluid", "CSF between the gyri"),
        *("fluid within the sulci and fissures", HELD_OUT, "cerebrospinal fluid in sulci"),
    ),
    "outer_csf": (
        *(
            "outer CSF",
            "extra-axial CSF",
            "subarachnoid fluid around the brain",
            "fluid between brain and skull",
            "fluid outside the brain",
            "CSF layer around the brain",
        ),
        *("outer cerebrospinal fluid", HELD_OUT, "the fluid layer outside the brain"),
    ),
    "head": (
        *("head outside the brain", "skull and scalp", "extracranial tissue", "skull, face and scalp"),
        *(
            "everything of the head that is not brain",
            "bone and soft tissue of the head",
            HELD_OUT,
            "scalp and skull",
        ),
    ),
    "lesion": (
        *(
            "lesion",
            "lesions",
            "tumour",
            "tumor",
            "enhancing tumour",
            "white-matter lesions",
            "plaques",
            "mass",
        ),
        *("solid tumour part", "MS lesions", "focal lesion", "neoplasm", "hyperintense lesions", HELD_OUT),
        *("the enhancing mass", "demyelinating plaques", "tumor mass"),
    ),
    "necrosis": (
        *("necrosis", "necrotic core", "tumour necrosis", "necrotic cavity", "cystic or necrotic part"),
        *("necrotic tumor core", HELD_OUT, "the necrotic centre"),
    ),
    "oedema": (
        *(
            "oedema",
            "edema",
            "vasogenic oedema",
            "peritumoral edema",
            "perifocal oedema",
            "swelling around the tumour",
        ),
        *("surrounding edema", HELD_OUT, "oedema around the mass"),
    ),
    "csf": (
        *("CSF", "cerebrospinal fluid", "all cerebrospinal fluid outside the ventricles", "liquor"),
        *("the CSF spaces", HELD_OUT, "every CSF space around the brain"),
    ),
    "whole_lesion": (
        *(
            "whole lesion",
            "whole tumour",
            "entire tumor with oedema",
            "complete lesion",
            "tumour including its edema",
            "whole extent of the tumour",
            "complete tumour",
            "full lesion with its surroundings",
            "total tumor volume",
            "all parts of the tumour",
        ),
        *("lesion with necrosis and oedema", HELD_OUT, "the full extent of the tumour"),
    ),
    "brain": (
        *(
            "brain",
            "whole brain",
            "brain mask",
            "brain parenchyma",
            "intracranial brain tissue",
            "the encephalon",
        ),
        *("brain tissue", "entire brain", HELD_OUT, "the complete brain"),
    ),
}
"""Name of a structure of the bundle to how people call it."""

FOREIGN: tuple[str, ...] = (
    *("kidney", "both kidneys", "left kidney", "renal parenchyma", "liver", "hepatic parenchyma", "spleen"),
    *("prostate", "prostate gland", "lung", "left lung", "lower lobe of the lung", "heart", "cardiac muscle"),
    *("myocardium", "aorta", "pancreas", "pancreatic duct", "urinary bladder", "bladder", "femur", "hip"),
    *("femoral head", "vertebrae", "lumbar vertebra", "intervertebral disc", "stomach", "colon", "bowel"),
    *("small intestine", "rectum", "appendix", "gallbladder", "bile duct", "adrenal gland", "ureter"),
    *("uterus", "ovary", "testis", "breast", "nipple", "knee cartilage", "meniscus", "patella", "tibia"),
    *("left ventricle of the heart", "right atrium", "mitral valve", "coronary arteries", "pericardium"),
    *("thyroid", "thyroid gland", "larynx", "trachea", "bronchi", "pelvis", "sacrum", "rib cage", "sternum"),
    *("clavicle", "scapula", "humerus", "elbow", "wrist", "finger", "hand", "foot", "ankle", "toe", "heel"),
    *("oesophagus", "pulmonary nodule", "hepatic lesion", "renal cyst", "portal vein", "inferior vena cava"),
    *("lumbar spine", "spinal cord", "rotator cuff", "achilles tendon", "biceps", "diaphragm", "pneumonia"),
    *("ascites", "rib fracture", "aneurysm of the aorta", "lymph nodes of the neck", "carotid artery"),
    *("tooth", "teeth", "tongue", "parotid gland", "table", "phantom", "electrode", "catheter", "stent"),
    *("cat", "dog", "car", "house", "tree", "the weather", "a joke", "nothing", "something", "everything"),
    *("the image", "this scan", "the patient's name", "the report", "a poem", "the time", "lunch"),
    *(HELD_OUT, "right kidney", "duodenum", "liver tumour", "left atrium", "hip joint", "pleural effusion"),
)
"""What no head scan shows, what this bundle does not know, and what is no structure at all."""

SYLLABLES = tuple(consonant + vowel for consonant in "bcdfghjklmnprstvz" for vowel in "aeiou")
"""Of words that mean nothing."""

MODALITIES: dict[str, tuple[str, ...]] = {
    "T1": (
        "T1",
        "T1-weighted MRI",
        "T1w image",
        "T1 MPRAGE",
        "T1-weighted scan",
        HELD_OUT,
        "native T1 image",
    ),
    "T1c": (
        *(
            "T1c",
            "contrast-enhanced T1",
            "T1 post-gadolinium",
            "T1 with contrast",
            "post-contrast T1-weighted MRI",
        ),
        *(HELD_OUT, "T1 after gadolinium"),
    ),
    "T2": (
        "T2",
        "T2-weighted MRI",
        "T2w image",
        "T2 TSE",
        "T2-weighted scan",
        HELD_OUT,
        "T2 turbo spin echo",
    ),
    "FLAIR": ("FLAIR", "FLAIR image", "T2-FLAIR", "fluid-attenuated image", HELD_OUT, "FLAIR sequence"),
    "CT": ("CT", "CT scan", "non-contrast CT", "computed tomography", "head CT", HELD_OUT, "cranial CT"),
}
"""Modality to how people call it."""


def for_training(names: tuple[str, ...]) -> tuple[str, ...]:
    """Names before the mark."""
    return names[: names.index(HELD_OUT)]


def for_evaluation(names: tuple[str, ...]) -> tuple[str, ...]:
    """Names after the mark."""
    return names[names.index(HELD_OUT) + 1 :]
