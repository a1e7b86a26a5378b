"""Phantoms and pictures as valid DICOM instances, in the transfer syntax that the case asks for."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray
from pydicom import config
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from infra.demo.case import EXPLICIT, IMPLICIT, JPEG_2000, Case
from infra.demo.odd.situations import as_sent, film_as_head, page
from triage.phantoms.films import chest_film, other_film
from triage.phantoms.heads import head_ct

CT, DX, SECONDARY = (
    "1.2.840.10008.5.1.4.1.1.2",
    "1.2.840.10008.5.1.4.1.1.1.1",
    "1.2.840.10008.5.1.4.1.1.7",
)
PET, TOMOSYNTHESIS = "1.2.840.10008.5.1.4.1.1.128", "1.2.840.10008.5.1.4.1.1.13.1.3"
SLICES, SLICE_MM = 14, 10
_PLANES = 40
_LONG_AGO = timedelta(days=3 * 365)
#: Sent without compression: a demo has no time for a tomosynthesis, nor a codec for what is broken.
_AS_IT_IS = frozenset({"tomosynthesis", "damaged"})
_BODY = {"head_ct": "HEAD", "chest": "CHEST", "knee": "KNEE", "abdomen": "ABDOMEN"}
config.settings.reading_validation_mode = config.IGNORE
#: Two threads in the JPEG 2000 encoder of pylibjpeg-openjpeg 2.6 overwrite each other's memory, and
#: senders are threads.
_ENCODER = threading.Lock()


def instances(case: Case, now: datetime, *, series: int = 1) -> list[Dataset]:
    """The images of one series of `case`: the same for the same case and series, but for the time
    of acquisition.
    """
    rng = np.random.default_rng((case.seed, series))
    if case.situation == "dose_page":
        sets = [_dose_page(page(rng))]
    elif case.kind == "head_ct":
        odd = case.situation == "film"
        volume = film_as_head(rng, SLICES) if odd else head_ct(rng, case.finding or None, SLICES)
        sets = [_ct(case, plane, index) for index, plane in enumerate(volume)]
        sets = as_sent(sets, case.situation)
    elif case.kind == "picture":
        sets = [_picture(case)]
    elif case.situation == "tomosynthesis":
        sets = [_tomosynthesis(rng)]
    elif case.situation == "pet_ct":
        sets = [_plane(rng, CT, "CT"), _plane(rng, PET, "PT")]
    else:
        film = (
            chest_film(rng, case.finding == "opacity", 512)
            if case.kind == "chest"
            else other_film(rng, case.kind, 512)
        )
        sets = [_film(case, film)]
    taken = now - _LONG_AGO if case.situation == "prior" else now
    for index, dataset in enumerate(sets, 1):
        _identify(dataset, case, taken, series, index)
        _oddly(dataset, case)
        _encode(dataset, EXPLICIT if case.situation in _AS_IT_IS else case.syntax)
    return sets


def _oddly(dataset: Dataset, case: Case) -> None:
    """The half of a PET/CT that has a study of its own; a header or an icon that is damaged."""
    if case.situation == "pet_ct" and dataset.Modality == "PT":
        dataset.StudyInstanceUID = f"{case.study_uid}.5"
        dataset.SeriesInstanceUID = f"{case.study_uid}.5.1"
        dataset.SOPInstanceUID = f"{case.study_uid}.5.1.1"
    elif case.situation == "damaged":
        dataset.NumberOfFrames = "1.0"  # an integer, PS3.5 §6.2: it cannot be read
    elif case.situation == "icon":
        dataset.IconImageSequence = [_broken_icon()]


def _broken_icon() -> Dataset:
    """A thumbnail that breaks off and is no codestream: the image beside it is sound."""
    icon = Dataset()
    icon.Rows = icon.Columns = 128
    icon.SamplesPerPixel, icon.PhotometricInterpretation = 1, "MONOCHROME2"
    icon.BitsAllocated = icon.BitsStored = 8
    icon.HighBit, icon.PixelRepresentation = 7, 0
    icon.PixelData = b"\xff\x4f\xff\x51" + bytes(60)
    icon["PixelData"].VR = "OB"
    return icon


def _tomosynthesis(rng: np.random.Generator) -> Dataset:
    """Breast planes in one object, as large as a laptop bears."""
    planes = rng.integers(0, 1024, (_PLANES, 512, 512), dtype=np.uint16)
    dataset = _base(planes[0], TOMOSYNTHESIS, "MG", 12)
    dataset.NumberOfFrames, dataset.PixelData = _PLANES, planes.tobytes()
    dataset.ImageType, dataset.BodyPartExamined = ["ORIGINAL", "PRIMARY", ""], "BREAST"
    dataset.StudyDescription = dataset.SeriesDescription = "Tomosynthesis"
    return dataset


def _plane(rng: np.random.Generator, sop_class: str, modality: str) -> Dataset:
    """One slice of a PET/CT of the whole body."""
    dataset = _base(rng.integers(0, 1024, (128, 128), dtype=np.uint16), sop_class, modality, 12)
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.BodyPartExamined, dataset.StudyDescription = "WHOLEBODY", "PET/CT whole body"
    dataset.SeriesDescription = modality
    return dataset


def broken(case: Case, now: datetime) -> list[Dataset]:
    """A file whose header is sound and whose codestream is not: it must be stored, listed and *not
    analysed*.
    """
    dataset = instances(case, now)[0]
    if dataset.file_meta.TransferSyntaxUID in (ExplicitVRLittleEndian, ImplicitVRLittleEndian):
        dataset.file_meta.TransferSyntaxUID = UID(JPEG_2000)
    dataset.PixelData = encapsulate([b"\xff\x4f\xff\x51" + bytes(range(200))])
    dataset["PixelData"].is_undefined_length = True
    dataset["PixelData"].VR = "OB"
    return [dataset]


def _identify(dataset: Dataset, case: Case, now: datetime, series: int, index: int) -> None:
    who = case.patient
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.PatientID, dataset.PatientName = who.id, f"{who.family}^{who.given}"
    dataset.IssuerOfPatientID = "DEMO"
    dataset.PatientBirthDate, dataset.PatientSex, dataset.PatientAge = (
        who.birth_date,
        who.sex,
        case.age,
    )
    dataset.AccessionNumber = case.accession
    dataset.StudyInstanceUID = case.study_uid
    dataset.SeriesInstanceUID = f"{case.study_uid}.{series}"
    dataset.SOPInstanceUID = f"{case.study_uid}.{series}.{index}"
    dataset.StudyID, dataset.SeriesNumber, dataset.InstanceNumber = str(case.number), series, index
    dataset.StudyDate = dataset.SeriesDate = dataset.AcquisitionDate = dataset.ContentDate = (
        now.strftime("%Y%m%d")
    )
    dataset.StudyTime = dataset.SeriesTime = dataset.AcquisitionTime = dataset.ContentTime = (
        now.strftime("%H%M%S.%f")
    )
    dataset.TimezoneOffsetFromUTC = "+0000"
    dataset.Manufacturer, dataset.ManufacturerModelName = "Phantom", "Demo"
    dataset.ReferringPhysicianName = ""


def _base(pixels: NDArray[np.generic], sop_class: str, modality: str, stored: int) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.Modality = sop_class, modality
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = pixels.dtype.itemsize * 8
    dataset.BitsStored, dataset.HighBit = stored, stored - 1
    dataset.PixelRepresentation = 0
    dataset.PixelData = np.ascontiguousarray(pixels).tobytes()
    dataset["PixelData"].VR = "OW" if dataset.BitsAllocated == 16 else "OB"
    return dataset


def _ct(case: Case, hu: NDArray[np.int16], index: int) -> Dataset:
    pixels = np.clip(hu.astype(np.int32) + 1024, 0, 4095).astype(np.uint16)
    dataset = _base(pixels, CT, "CT", 12)
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = "-1024", "1", "HU"
    dataset.WindowCenter, dataset.WindowWidth = "40", "80"
    dataset.BodyPartExamined, dataset.StudyDescription, dataset.SeriesDescription = (
        "HEAD",
        "CT head",
        "Axial brain",
    )
    dataset.FrameOfReferenceUID = f"{case.study_uid}.9"
    dataset.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
    dataset.ImagePositionPatient = ["-115", "-115", f"{SLICE_MM * index}"]
    dataset.PixelSpacing, dataset.SliceThickness = ["0.9", "0.9"], str(SLICE_MM)
    dataset.KVP, dataset.PositionReferenceIndicator = "120", ""
    return dataset


def _dose_page(pixels: NDArray[np.uint8]) -> Dataset:
    dataset = _base(pixels, SECONDARY, "CT", 8)
    dataset.ImageType, dataset.ConversionType = ["DERIVED", "SECONDARY", "SCREEN SAVE"], "WSD"
    dataset.BodyPartExamined, dataset.StudyDescription = "HEAD", "CT head"
    dataset.SeriesDescription = "Dose Report"
    return dataset


def _film(case: Case, film: NDArray[np.uint16]) -> Dataset:
    dataset = _base(film, DX, "DX", 12)
    dataset.ImageType = ["ORIGINAL", "PRIMARY", ""]
    dataset.BodyPartExamined, dataset.ViewPosition = _BODY[case.kind], "AP"
    dataset.StudyDescription = dataset.SeriesDescription = f"{case.kind} film"
    dataset.ImageLaterality, dataset.PatientOrientation = "U", ["L", "F"]
    dataset.PresentationIntentType, dataset.PresentationLUTShape = "FOR PRESENTATION", "IDENTITY"
    dataset.PixelIntensityRelationship, dataset.PixelIntensityRelationshipSign = "LOG", -1
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = "0", "1", "US"
    dataset.WindowCenter, dataset.WindowWidth = "2048", "4096"
    dataset.ImagerPixelSpacing = ["0.4", "0.4"]
    return dataset


def _picture(case: Case) -> Dataset:
    from PIL import Image

    if case.picture is None:
        raise ValueError("this case has no picture")
    with Image.open(case.picture) as image:
        pixels = np.asarray(image.convert("L"))
    head = "ct" in case.picture.as_posix().lower()
    dataset = _base(pixels, CT if head else DX, "CT" if head else "DX", 8)
    if head:  # a brain-window picture back to HU: 0..255 over the window 40 / 80
        dataset.RescaleSlope, dataset.RescaleIntercept, dataset.RescaleType = (
            f"{80 / 255:.10f}",
            "0",
            "HU",
        )
        dataset.ImagePositionPatient, dataset.ImageOrientationPatient = (
            ["0", "0", "0"],
            ["1", "0", "0", "0", "1", "0"],
        )
    dataset.WindowCenter, dataset.WindowWidth = ("40", "80") if head else ("128", "256")
    dataset.BodyPartExamined, dataset.ViewPosition = ("HEAD", "") if head else ("CHEST", "AP")
    dataset.StudyDescription = "Imported picture"
    dataset.ImageType = ["DERIVED", "SECONDARY"]
    return dataset


def _encode(dataset: Dataset, syntax: str) -> None:
    if syntax == IMPLICIT:
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    elif syntax != EXPLICIT:
        with _ENCODER:
            dataset.compress(syntax, generate_instance_uid=False)
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
