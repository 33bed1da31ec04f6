"Passes what settings.ini says the package needs to setuptools; everything else stands in pyproject.toml."
from configparser import ConfigParser
from pathlib import Path

from setuptools import setup

cfg = ConfigParser(delimiters=["="])
cfg.read(Path(__file__).parent / "settings.ini", encoding="utf-8")
cfg = cfg["DEFAULT"]
extras = {k.removesuffix("_requirements"): v.split() for k, v in cfg.items() if k.endswith("_requirements")}
setup(install_requires=cfg["requirements"].split(), extras_require=extras,
      entry_points={"console_scripts": cfg.get("console_scripts", "").split()})
