"""Phantoms and pictures as valid DICOM instances, in the transfer syntax that the case asks for."""

from __future__ import annotations

from datetime import datetime

import numpy as np
from numpy.typing import NDArray
from pydicom import config
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from infra.demo.case import EXPLICIT, IMPLICIT, JPEG_2000, Case
from triage.phantoms.films import chest_film, other_film
from triage.phantoms.heads import head_ct

CT, DX, SECONDARY = (
    "1.2.840.10008.5.1.4.1.1.2",
    "1.2.840.10008.5.1.4.1.1.1.1",
    "1.2.840.10008.5.1.4.1.1.7",
)
SLICES = 8
_BODY = {"head_ct": "HEAD", "chest": "CHEST", "knee": "KNEE", "abdomen": "ABDOMEN"}
config.settings.reading_validation_mode = config.IGNORE


def instances(case: Case, now: datetime, *, series: int = 1) -> list[Dataset]:
    """The images of one series of `case`: the same for the same case and series, but for the time
    of acquisition.
    """
    rng = np.random.default_rng((case.seed, series))
    if case.kind == "head_ct":
        volume = head_ct(rng, case.finding or None, slices=SLICES)
        sets = [_ct(case, plane, index, len(volume)) for index, plane in enumerate(volume)]
    elif case.kind == "picture":
        sets = [_picture(case)]
    else:
        film = (
            chest_film(rng, case.finding == "opacity", 512)
            if case.kind == "chest"
            else other_film(rng, case.kind, 512)
        )
        sets = [_film(case, film)]
    for index, dataset in enumerate(sets, 1):
        _identify(dataset, case, now, series, index)
        _encode(dataset, case.syntax)
    return sets


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


def _ct(case: Case, hu: NDArray[np.int16], index: int, count: int) -> Dataset:
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
    dataset.ImagePositionPatient = ["-115", "-115", f"{index * 140 / count:.2f}"]
    dataset.PixelSpacing, dataset.SliceThickness = ["0.9", "0.9"], "5"
    dataset.KVP, dataset.PositionReferenceIndicator = "120", ""
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
        dataset.compress(syntax, generate_instance_uid=False)
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
