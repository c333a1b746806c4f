"""The file, the environment and the secrets -> settings, or every problem at once (contract, section 8)."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mt1bridge.config import document, rules
from mt1bridge.config import options as o
from mt1bridge.config.building import Surroundings, build
from mt1bridge.config.found import Found
from mt1bridge.config.paths import check_files, read_secrets, resolver
from mt1bridge.config.reader import read_environment, read_file
from mt1bridge.config.report import NOWHERE, Place, Report, TooManyProblems
from mt1bridge.config.settings import DeviceSettings, Settings
from mt1bridge.model.errors import ConfigurationError, Problem
