"""Running a contract against a snapshot and recording what it read and would write."""

from chaincode.simulator.chaincode import Chaincode, ChaincodeRegistry, ContractChaincode
from chaincode.simulator.limits import Limits
from chaincode.simulator.ports import CollectionAccess
from chaincode.simulator.simulator import Invocation, SimulationResult, Simulator

__all__ = [
    "Chaincode",
    "ChaincodeRegistry",
    "CollectionAccess",
    "ContractChaincode",
    "Invocation",
    "Limits",
    "SimulationResult",
    "Simulator",
]
