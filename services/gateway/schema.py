"""The tables of the gateway: so far those that every service has."""

from sqlalchemy import MetaData

from services.chassis.schema import NAMING, chassis_tables

metadata = MetaData(naming_convention=NAMING)
chassis = chassis_tables(metadata)
