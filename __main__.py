"""Blue/green deployments of an Aurora PostgreSQL global database: one stack, one environment.

Without `source` the stack is an environment. With it, it is a deployment: this environment is a
clone of the source, follows it, and takes its place when `cutover` is flipped.
"""

from components.global_database import GlobalDatabase
from components.outputs import export
from components.parameter_groups import ParameterGroups
from components.parameters import find_parameters
from components.primary import Primary
from components.replication import Replication
from components.seam import Seam
from components.source import find_source
from components.stack import read_stack
from components.traffic import Traffic
from components.transition import allow_transition, guard_retirement

stack = read_stack()  # settings and names; a wrong setting ends here, in one line
parameters = find_parameters(stack)  # by the types that AWS gives them; a wrong one ends here too
source = find_source(stack)  # the environment to be replaced; None in a plain stack

# First of all: may this stack go from what it was to what it is to be?
deployment = allow_transition(stack, source)

# The source's publications and slots come before the clone, so that no row is missed in between.
seam = Seam(stack, source, after=[deployment])

# The cluster with its writer: new, or a clone of the source.
groups = ParameterGroups(stack, parameters, source, after=[deployment])
primary = Primary(stack, groups, source, after=[deployment, groups, seam])

# The clone is upgraded, follows the writer, and can become it.
replication = Replication(stack, source, seam, primary, groups)

# Readers and other Regions follow once the clone has caught up; then the names that clients use.
global_database = GlobalDatabase(stack, primary, after=[primary, replication])
traffic = Traffic(stack, primary, source, after=[primary, replication])

# Deleted first, so that it can refuse while anything still needs this environment.
guard_retirement(
    stack, primary, after=[deployment, seam, groups, primary, replication, global_database, traffic]
)

export(stack, primary, replication, global_database, deployment)
